//! Fuzz targets: each gives bytes that nobody wrote to something that reads bytes from disk, and checks what
//! it makes of them. One target is one program in `targets/`; what it does stands here, under its name.
//!
//! A frame whose CRC does not match is refused before anything else in it is looked at, so a target makes the
//! CRCs right where that is needed ([`recipe`]). What the bytes mean is found out a second time, by
//! [`format`], which is written from `docs/format.md` and shares nothing with the library.

#[cfg(fuzzing)]
pub mod allocation;
pub mod broker;
#[cfg(fuzzing)]
pub mod catalog;
#[cfg(fuzzing)]
pub mod checkpoint;
#[cfg(fuzzing)]
pub mod commits;
pub mod directory;
pub mod disk;
pub mod format;
#[cfg(fuzzing)]
pub mod frame;
#[cfg(fuzzing)]
pub mod headers;
pub mod input;
pub mod model;
pub mod recipe;
#[cfg(fuzzing)]
pub mod segment_header;
pub mod verify;

/// The program of a target.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ottla_fuzz::$name::check(bytes));

        #[cfg(not(fuzzing))]
        fn main() -> std::process::ExitCode {
            ottla_fuzz::built_without_fuzzing()
        }
    };
}

/// What the programs say if they are built like others.
#[cfg(not(fuzzing))]
#[must_use]
pub fn built_without_fuzzing() -> std::process::ExitCode {
    eprintln!("built without --cfg fuzzing: CONTRIBUTING.md says how to build the fuzz targets");
    std::process::ExitCode::FAILURE
}
