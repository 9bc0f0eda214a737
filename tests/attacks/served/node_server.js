// Node's HTTP server (llhttp) as a judge: it answers 200 to whatever it accepts and tells, for each connection that has
// ended, which requests it saw. Used by test_differential.py.
"use strict";

const http = require("http");

const connections = new Map();

const server = http.createServer((request, response) => {
  const record = { method: request.method, target: request.url, body: "", complete: false };
  const seen = connections.get(request.socket);
  if (seen) seen.push(record);
  request.setEncoding("latin1");
  request.on("data", (piece) => { record.body += piece; });
  request.on("end", () => { record.complete = true; response.end("ok"); });
  request.on("error", () => {});
  response.on("error", () => {});
});

server.keepAliveTimeout = 60000;
server.on("connection", (socket) => {
  const port = socket.remotePort;
  connections.set(socket, []);
  socket.on("close", () => {
    process.stdout.write(JSON.stringify({ port, requests: connections.get(socket) }) + "\n");
    connections.delete(socket);
  });
});
server.on("clientError", (_error, socket) => {
  if (socket.writable) socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
  else socket.destroy();
});
server.listen(0, "127.0.0.1", () => process.stdout.write(`${server.address().port}\n`));
