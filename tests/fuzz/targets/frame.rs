//! The frames of a log.
#![cfg_attr(fuzzing, no_main)]

ottla_fuzz::target!(frame);
