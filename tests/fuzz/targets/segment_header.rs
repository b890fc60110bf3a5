//! The header of a segment, and the name of its file.
#![cfg_attr(fuzzing, no_main)]

ottla_fuzz::target!(segment_header);
