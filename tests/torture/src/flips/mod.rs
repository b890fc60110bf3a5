//! `flips`: every prefix and every flipped bit of the files of small, real directories, blocks that are
//! zeroed, swapped, doubled or in a wrong place, frames that lie, and files that are missing or too many.
//! Whatever was done, a broker that opens the directory serves nothing wrong and all that is whole, says what
//! is missing, and leaves other partitions alone. A case is one damage to one directory; all of it follows
//! from the seed and the number of the case, but for the ids that the library draws. With `--cases N`, every
//! so many-th of them.

mod blocks;
mod case;
mod damage;
mod harmed;
mod image;
mod look;
mod oracle;
mod storage;

use crate::cases::{Counts, run_all};
use crate::common::options::Options;
use crate::common::outcome::{Failure, require_all, say};
use crate::common::random::Random;
use damage::{Kind, List};

/// What was done, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Met {
    prefixes: u64,
    flips: u64,
    blocks: u64,
    files: u64,
    /// Directories that were refused, for their catalog.
    refused: u64,
    fenced: u64,
    torn: u64,
    /// Damage that only a read came upon.
    told: u64,
    policies: u64,
    live: u64,
    /// Opened again after it took records.
    reopened: u64,
}

impl Counts for Met {
    fn add(&mut self, other: Self) {
        self.prefixes += other.prefixes;
        self.flips += other.flips;
        self.blocks += other.blocks;
        self.files += other.files;
        self.refused += other.refused;
        self.fenced += other.fenced;
        self.torn += other.torn;
        self.told += other.told;
        self.policies += other.policies;
        self.live += other.live;
        self.reopened += other.reopened;
    }
}

/// From so many cases on, every count has to be more than zero.
const CASES_TO_MEET_ALL: u64 = 5_000;

pub(crate) fn run(options: &Options) -> Result<String, Failure> {
    let seed = options.seed;
    let images = image::images(seed)?;
    let listed = [blocks::listed(&images[0], seed), blocks::listed(&images[1], seed)];
    let list = List::new(images, listed);
    let cases = options.cases.unwrap_or(list.total()).clamp(1, list.total());
    let (total, stride) = (list.total(), if options.case.is_some() { 1 } else { list.total() / cases });
    let shift = if stride > 1 { seed % stride } else { 0 };
    let is_alone = options.case.is_some();
    let done = run_all(options, if stride > 1 { cases } else { total }, move |index, met| {
        let number = (index * stride + shift) % total;
        let (image, damage) = list.get(number);
        if is_alone {
            // One that comes to no end says what it is.
            say(&case::describe(image, &damage));
        }
        let mut random = Random::of_case(seed, number);
        case::run(image, &damage, &mut random, met).map_err(|mut failure| {
            let about = case::describe(image, &damage);
            failure.detail = format!("number {number}, {about}: {}", failure.detail);
            failure.repeated_by(format!("--case {number}"))
        })
    })?;
    let Met { prefixes, flips, blocks, files, refused, fenced, torn, told, policies, live, reopened } =
        done.counts;
    say(&format!("refused={refused} fenced={fenced} torn={torn} told={told} reopened={reopened}"));
    if done.cases >= CASES_TO_MEET_ALL {
        let done = [("prefixes", prefixes), ("flips", flips), ("blocks", blocks), ("files", files)];
        let came = [("refused", refused), ("fenced", fenced), ("torn", torn), ("told", told)];
        let more = [("policies", policies), ("live", live), ("reopened", reopened)];
        require_all(&[&done[..], &came, &more].concat())?;
    }
    Ok(format!(
        "prefixes={prefixes} flips={flips} blocks={blocks} files={files} policies={policies} live={live} \
         wrong_records=0 silent_losses=0 neighbours_lost=0"
    ))
}

impl Met {
    fn note(&mut self, kind: Kind) {
        match kind {
            Kind::Prefix => self.prefixes += 1,
            Kind::Flip => self.flips += 1,
            Kind::Block => self.blocks += 1,
            Kind::File => self.files += 1,
        }
    }
}
