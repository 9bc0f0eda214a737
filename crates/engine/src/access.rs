//! The access log, placeholder until it writes.
use crate::io::socket::Address;
use crate::py::headers::Memo;

pub(crate) struct Record {
    pub(crate) status: u16,
    pub(crate) bytes_out: u64,
}

impl Record {
    pub(crate) fn head_sent(&mut self) {}
}

pub(crate) struct AccessLog {}

impl AccessLog {
    pub(crate) fn begin(&mut self, _memo: &Memo, _peer: &Address) -> Box<Record> {
        Box::new(Record { status: 0, bytes_out: 0 })
    }

    pub(crate) fn write(&mut self, _record: Box<Record>, _status: u16, _bytes: u64, _received: u64, _cut: bool) {}

    pub(crate) fn hand_over(&mut self) {}

    pub(crate) fn close(&mut self) {}
}
