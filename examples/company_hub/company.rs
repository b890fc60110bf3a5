//! The four areas with their topics, codecs and files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{Failure, about};
use fastrand::Rng;
use ottla::{Broker, Json, Raw};

use crate::area::Area;
use crate::digest::Digest;
use crate::sales::Sale;
use crate::{energy, production, sales, web};

pub(crate) const WEB: &str = "hub.web";
pub(crate) const PRODUCTION: &str = "hub.production";
pub(crate) const ENERGY: &str = "hub.energy";
pub(crate) const SALES: &str = "hub.sales";
/// What the names of all topics of the hub begin with.
pub(crate) const HUB: &str = "hub.";
pub(crate) const TOPICS: [&str; 4] = [WEB, PRODUCTION, ENERGY, SALES];

/// Areas by their names on the command line, and what their generated files are called.
const FILES: [(&str, &str); 4] = [
    ("web", "web.log"),
    ("production", "production.candump"),
    ("energy", "energy.openmetrics"),
    ("sales", "sales.ndjson"),
];

pub(crate) struct Company {
    pub(crate) web: Area<String, String>,
    pub(crate) production: Area<Raw, Vec<u8>>,
    pub(crate) energy: Area<u64, u64>,
    pub(crate) sales: Area<Json<Sale>, Sale>,
}

impl Company {
    /// Of the files of the areas, in the order of [`FILES`].
    pub(crate) fn of(files: &[Vec<u8>; 4]) -> Self {
        let [web, production, energy, sales] = files;
        Self {
            web: Area { topic: WEB, events: web::read(web), lend: |line| line },
            production: Area { topic: PRODUCTION, events: production::read(production), lend: |frame| frame },
            energy: Area { topic: ENERGY, events: energy::read(energy), lend: |reading| *reading },
            sales: Area { topic: SALES, events: sales::read(sales), lend: |sale| sale },
        }
    }

    /// What each topic must hold in the end, computed without a topic.
    pub(crate) fn digests(&self) -> Result<BTreeMap<String, Digest>, Failure> {
        let digests =
            [self.web.digest()?, self.production.digest()?, self.energy.digest()?, self.sales.digest()?];
        Ok(TOPICS.map(str::to_owned).into_iter().zip(digests).collect())
    }

    /// How many events there are in all.
    pub(crate) fn events(&self) -> u64 {
        let Self { web, production, energy, sales } = self;
        (web.events.len() + production.events.len() + energy.events.len() + sales.events.len()) as u64
    }

    /// One publisher for each area.
    pub(crate) fn publishers<'a>(
        &'a self,
        broker: &'a Broker,
    ) -> [Box<dyn FnOnce() -> Result<(), Failure> + Send + 'a>; 4] {
        [
            Box::new(|| self.web.publish(broker)),
            Box::new(|| self.production.publish(broker)),
            Box::new(|| self.energy.publish(broker)),
            Box::new(|| self.sales.publish(broker)),
        ]
    }
}

/// The files of the areas: real ones where they are given, a generated day of the others.
pub(crate) fn files(
    inputs: &[(String, PathBuf)],
    seed: u64,
    records: usize,
    write_to: Option<&Path>,
) -> Result<[Vec<u8>; 4], Failure> {
    if let Some((area, _)) = inputs.iter().find(|(area, _)| FILES.iter().all(|(name, _)| name != area)) {
        let areas = FILES.map(|(name, _)| name).join(", ");
        return Err(format!("--input {area}=..: there is no area {area:?}, only {areas}").into());
    }
    let mut rng = Rng::with_seed(seed);
    let generated = [web::generate, production::generate, energy::generate, sales::generate]
        .map(|generate| generate(&mut rng, records).into_bytes());
    let mut files = generated;
    for ((area, name), file) in FILES.into_iter().zip(&mut files) {
        let given: Vec<&PathBuf> = inputs.iter().filter(|(of, _)| of == area).map(|(_, path)| path).collect();
        if !given.is_empty() {
            *file = joined(&given)?;
        } else if let Some(dir) = write_to {
            fs::create_dir_all(dir).map_err(|error| about(dir, error))?;
            let path = dir.join(name);
            fs::write(&path, &file).map_err(|error| about(&path, error))?;
        }
    }
    Ok(files)
}

/// Several files of one area, one after the other: a log that was rotated, for instance.
fn joined(paths: &[&PathBuf]) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    for path in paths {
        bytes.extend(fs::read(path).map_err(|error| about(path, error))?);
        if !bytes.ends_with(b"\n") {
            bytes.push(b'\n');
        }
    }
    Ok(bytes)
}
