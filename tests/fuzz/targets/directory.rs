//! A whole directory, and the broker that is opened on it.
#![cfg_attr(fuzzing, no_main)]

ottla_fuzz::target!(directory);
