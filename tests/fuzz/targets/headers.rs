//! The headers of a record.
#![cfg_attr(fuzzing, no_main)]

ottla_fuzz::target!(headers);
