//! `faults`: the n-th operation on the storage fails, for every n of a script that does all that a broker can be
//! asked for; in eight ways, once and for as long as the script takes. Every error has to be one that the fault
//! explains, what was acknowledged has to stay, and when the cause is gone everything works again, without a
//! restart.

mod failing;
mod script;
mod tended;

use crate::cases::{Counts, run_all};
use crate::common::options::Options;
use crate::common::outcome::{Failure, Finding, require_all};
use failing::{Failing, Fault};
use script::Script;

/// A script with fewer operations is no trial.
const FEWEST_SITES: u64 = 200;

/// Of the cases that are run.
#[derive(Debug, Default)]
struct Met {
    /// In which an error was answered, or more, all of which fitted.
    clean_errors: u64,
    /// Of those, in which everything worked when the cause was gone.
    recovered: u64,
    /// In which nobody had to be told.
    absorbed: u64,
}

impl Counts for Met {
    fn add(&mut self, other: Self) {
        self.clean_errors += other.clean_errors;
        self.recovered += other.recovered;
        self.absorbed += other.absorbed;
    }
}

pub(crate) fn run(options: &Options) -> Result<String, Failure> {
    let sites = count_sites()?;
    let errors = Fault::ALL.len() as u64;
    let cases = sites * errors * 2;
    // Fewer cases than there are: at equal distances, beginning where the seed says.
    let wanted = options.cases.map_or(cases, |wanted| wanted.clamp(1, cases));
    let (step, first) = (cases / wanted, options.seed % (cases / wanted));
    let done = run_all(options, wanted, move |number, met: &mut Met| {
        let case = if wanted == cases { number } else { first + number * step };
        let (site, way) = (case / (errors * 2), case % (errors * 2));
        let fault = Fault::ALL[(way / 2) as usize];
        let is_for_good = way % 2 == 1;
        one(site, fault, is_for_good, met).map_err(|mut failure| {
            let how = if is_for_good { "from operation" } else { "at operation" };
            failure.detail = format!("{fault:?} {how} {site}: {}", failure.detail);
            failure
        })
    })?;
    let Met { clean_errors, recovered, absorbed } = done.counts;
    if options.case.is_none() {
        require_all(&[("clean_errors", clean_errors), ("recovered", recovered), ("absorbed", absorbed)])?;
    }
    Ok(format!(
        "sites={sites} errors={errors} clean_errors={clean_errors} recovered={recovered} absorbed={absorbed}"
    ))
}

/// How many operations the script takes when nothing fails.
fn count_sites() -> Result<u64, Failure> {
    let storage = Failing::new(u64::MAX, Fault::Eio, false);
    let mut script = Script::new(&storage, Fault::Eio);
    script.run()?;
    let sites = storage.operations();
    script.check_recovered()?;
    if sites < FEWEST_SITES {
        return Err(Failure::new(Finding::NothingExercised, format!("only {sites} operations")));
    }
    Ok(sites)
}

fn one(site: u64, fault: Fault, is_for_good: bool, met: &mut Met) -> Result<(), Failure> {
    let storage = Failing::new(site, fault, is_for_good);
    let mut script = Script::new(&storage, fault);
    script.run()?;
    let errors = script.errors;
    script.check_recovered()?;
    if errors > 0 {
        met.clean_errors += 1;
        met.recovered += 1;
    } else {
        met.absorbed += 1;
    }
    Ok(())
}
