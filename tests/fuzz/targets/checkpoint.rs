//! The text of a checkpoint.
#![cfg_attr(fuzzing, no_main)]

ottla_fuzz::target!(checkpoint);
