//! The text of a catalog.
#![cfg_attr(fuzzing, no_main)]

ottla_fuzz::target!(catalog);
