//! Where a run of a program keeps its log and its database.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use common::{Failure, about};
use ottla::Broker;

use crate::Database;
use crate::kills::{self, Kills};

/// A directory with a log and a database, or none: then both are in memory.
#[derive(Debug)]
pub struct Home {
    dir: Option<PathBuf>,
    schema: String,
    is_temporary: bool,
}

impl Home {
    /// The home of `program` in `data_dir`; without one, in memory, or in a temporary directory if the
    /// program `is_to_be_killed` and has to find it again.
    pub fn new(program: &str, data_dir: Option<&Path>, is_to_be_killed: bool) -> Result<Self, Failure> {
        let name = format!("{program}-{}-{:08x}", process::id(), fastrand::u32(..));
        let dir = match data_dir {
            Some(dir) => Some(dir.to_owned()),
            None => is_to_be_killed.then(|| env::temp_dir().join(&name)),
        };
        let schema = match &dir {
            Some(dir) => schema_for(program, dir)?,
            None => name,
        };
        Ok(Self { dir, schema, is_temporary: data_dir.is_none() })
    }

    /// Whether nothing of it outlives the program.
    pub fn is_in_memory(&self) -> bool {
        self.dir.is_none()
    }

    /// A broker whose log is here.
    pub fn broker(&self) -> Result<Broker, Failure> {
        match &self.dir {
            Some(dir) => Broker::open(dir).map_err(|error| about(dir, error)),
            None => Ok(Broker::in_memory()),
        }
    }

    /// A connection to the database. In memory, each is a database of its own.
    pub fn database(&self) -> Result<Database, Failure> {
        Database::open(self.dir.as_deref(), &self.schema)
    }

    /// Runs this program here and kills it, so many times: see [`kills::torment`]. It gets the arguments
    /// that this process was given, and the last one of each option counts (clap's `args_override_self`).
    /// There are `records` to land.
    pub fn torment(&self, kills: u32, seed: u64, records: u64) -> Result<Kills, Failure> {
        if kills == 0 {
            return Ok(Kills::default());
        }
        let dir = self.dir.as_deref().ok_or("without a directory there is nothing to find again")?;
        let mut arguments: Vec<OsString> = env::args_os().skip(1).collect();
        arguments.extend(["--kills".into(), "0".into(), "--data-dir".into(), dir.into()]);
        // Those that abort have done half of the work in the end: there is always something to break off.
        let seen = kills::torment(kills, seed, &arguments, 2 * records / u64::from(kills))?;
        println!("{seen}");
        Ok(seen)
    }

    /// Removes what is of no use after this run.
    pub fn leave(self) -> Result<(), Failure> {
        if !self.is_temporary {
            return Ok(());
        }
        self.database()?.remove_all(&self.schema)?;
        match &self.dir {
            Some(dir) => fs::remove_dir_all(dir).map_err(|error| about(dir, error)),
            None => Ok(()),
        }
    }
}

/// A directory's schema has its path in its name, hashed (FNV-1a): each directory finds its own again.
fn schema_for(program: &str, dir: &Path) -> Result<String, Failure> {
    fs::create_dir_all(dir).map_err(|error| about(dir, error))?;
    let path = dir.canonicalize().map_err(|error| about(dir, error))?;
    let hash = path.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3_u64)
    });
    Ok(format!("{program}-{hash:016x}"))
}
