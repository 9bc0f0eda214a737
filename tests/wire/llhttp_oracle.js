// Says what bytes mean to llhttp, the parser inside Node: the third voice of test_differential.py.
// Standard input and output have the form of crates/wire/examples/oracle.rs.
"use strict";

const { HTTPParser } = require("_http_common");

const input = require("fs").readFileSync(0);
const lines = [];

// A connection is never reused for the next case: each gets a fresh parser.
function read(bytes) {
  const parser = new HTTPParser();
  parser.initialize(HTTPParser.REQUEST, {}, 1 << 20, 0);
  const requests = [];
  let fields = [];
  let current = null;
  let target = "";
  // More than 32 fields come in portions, the target with the first.
  const flush = (pairs, url) => { fields = fields.concat(pairs); target += url; };
  parser[HTTPParser.kOnHeaders] = flush;
  parser[HTTPParser.kOnHeadersComplete] =
    (major, minor, headers, method, url, _code, _reason, upgrade, keepAlive) => {
      if (headers) flush(headers, url);
      const pairs = [];
      for (let i = 0; i < fields.length; i += 2) pairs.push([fields[i], fields[i + 1]]);
      current = {
        method: METHODS[method], target, version: `${major}.${minor}`, fields: pairs,
        body: "", complete: false, keep_alive: keepAlive, upgrade,
      };
      requests.push(current);
      fields = [];
      target = "";
      return 0;
    };
  parser[HTTPParser.kOnBody] = (chunk) => { current.body += chunk.toString("latin1"); };
  parser[HTTPParser.kOnMessageComplete] = () => { fields = []; target = ""; current.complete = true; };
  const result = parser.execute(bytes, 0, bytes.length);
  const transcript = { requests, end: "open" };
  if (result instanceof Error) {
    transcript.end = "error";
    transcript.reason = `${result.code}: ${result.reason}`;
  } else if (current && !current.complete) {
    transcript.end = "partial";
  }
  return transcript;
}

const METHODS = require("_http_common").methods;

for (let at = 0; at + 4 <= input.length;) {
  const length = input.readUInt32BE(at);
  lines.push(JSON.stringify(read(input.subarray(at + 4, at + 4 + length))));
  at += 4 + length;
}
process.stdout.write(lines.join("\n") + "\n");
