//! Records of committed offsets.
#![cfg_attr(fuzzing, no_main)]

ottla_fuzz::target!(commits);
