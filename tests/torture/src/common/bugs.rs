//! Bugs that are put back into the library by name, in builds made with `--cfg ottla_seeded_bugs`.

/// Plants the bug of this name in this process for as long as it runs.
#[cfg(ottla_seeded_bugs)]
pub(crate) fn plant(name: Option<&str>) -> Result<(), String> {
    use ottla::seeded_bugs::{Bug, plant};

    let Some(name) = name else { return Ok(()) };
    let Some(bug) = Bug::ALL.into_iter().find(|bug| bug.name() == name) else {
        let known = Bug::ALL.map(Bug::name).join(", ");
        return Err(format!("there is no bug {name:?}; known are {known}"));
    };
    plant(Some(bug));
    Ok(())
}

/// There are none in this build.
#[cfg(not(ottla_seeded_bugs))]
pub(crate) fn plant(name: Option<&str>) -> Result<(), String> {
    match name {
        None => Ok(()),
        Some(_) => Err("--bug needs a build with RUSTFLAGS=\"--cfg ottla_seeded_bugs\"".to_owned()),
    }
}

/// The names of the bugs that this build can have.
#[cfg(ottla_seeded_bugs)]
pub(crate) fn names() -> Vec<&'static str> {
    ottla::seeded_bugs::Bug::ALL.map(ottla::seeded_bugs::Bug::name).to_vec()
}

/// There are none in this build.
#[cfg(not(ottla_seeded_bugs))]
pub(crate) fn names() -> Vec<&'static str> {
    Vec::new()
}
