//! A record's bytes: how a record lies in the log ([`frame`]), and how typed keys and values become bytes
//! and back ([`codec`]).

pub(crate) mod codec;
pub(crate) mod frame;
pub(crate) mod headers;
