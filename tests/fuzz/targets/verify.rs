//! What verify and a read-only broker say of a directory.
#![cfg_attr(fuzzing, no_main)]

ottla_fuzz::target!(verify);
