//! The labelled series of a run: those of the files that were given, or generated ones.

use std::fs;
use std::path::{Path, PathBuf};

use common::{Failure, about};

use crate::nab::{Labels, Window, read_series, write_labels, write_series};
use crate::reading::{Feed, Reading};

#[derive(Debug)]
pub(crate) struct Series {
    /// The file's name without its ending: the sensor.
    pub(crate) name: String,
    pub(crate) readings: Vec<Reading>,
    /// None where nobody has said what is anomalous.
    pub(crate) windows: Option<Vec<Window>>,
}

pub(crate) fn of_files(inputs: &[PathBuf], labels: Option<&Path>) -> Result<Vec<Series>, Failure> {
    let labels = labels.map(Labels::read).transpose()?;
    if inputs.len() > 1 && matches!(labels, Some(Labels::OfTheOnlyOne(_))) {
        return Err("--labels names no files, so it goes with one --input only".into());
    }
    let mut all: Vec<Series> = Vec::new();
    for file in inputs {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if all.iter().any(|series| series.name == name) {
            return Err(about(file, "there is another input of this name"));
        }
        let windows = match &labels {
            Some(labels) => labels.of(file)?.map(<[Window]>::to_vec),
            None => None,
        };
        if labels.is_some() && windows.is_none() {
            eprintln!(
                "sensors: warning: {}: the labels do not name it; it counts for no score",
                file.display()
            );
        }
        all.push(Series { name, readings: read_series(file)?, windows });
    }
    Ok(all)
}

/// As NAB keeps them: a file for each, and `labels.json` for all.
pub(crate) fn write(dir: &Path, all: &[Series]) -> Result<(), Failure> {
    fs::create_dir_all(dir).map_err(|error| about(dir, error))?;
    for series in all {
        write_series(&dir.join(format!("{}.csv", series.name)), &series.readings)?;
    }
    let named = |series: &'_ Series| format!("generated/{}.csv", series.name);
    let labels = all.iter().filter_map(|series| Some((named(series), series.windows.as_deref()?)));
    write_labels(&dir.join("labels.json"), labels)
}

pub(crate) fn feed(all: &[Series]) -> Feed {
    Feed::merged(all.iter().map(|series| (series.name.as_str(), series.readings.as_slice())))
}
