//! Named figures of a run: medians over its repetitions, printed for people and written for machines.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use crate::report::median;

#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<(String, Vec<f64>)>);

impl Figures {
    /// Adds what one repetition has shown.
    pub(crate) fn note(&mut self, name: &str, value: f64) {
        eprintln!("{name}: {value:.3}");
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.push(value),
            None => self.0.push((name.to_owned(), vec![value])),
        }
    }

    /// The median of what was noted by this name; not a number where nothing was.
    pub(crate) fn median(&self, name: &str) -> f64 {
        let values = self.0.iter().find(|(known, _)| known == name).map(|(_, values)| values.as_slice());
        median(values.unwrap_or_default().iter().copied())
    }

    /// A figure that is that of one name over that of another.
    pub(crate) fn ratio(&mut self, name: &str, of: &str, over: &str) {
        let ratio = self.median(of) / self.median(over);
        if ratio.is_finite() {
            self.0.push((name.to_owned(), vec![ratio]));
        }
    }

    /// Prints the medians, and writes them to `<out>/<file>`.
    pub(crate) fn write(&self, out: &Path, file: &str, repetitions: u32) -> Result<()> {
        println!("\nMedians of {repetitions} interleaved repetitions");
        let mut document = Map::new();
        for (name, values) in &self.0 {
            let value = median(values.iter().copied());
            println!("{name:<44} {value:>12.3}");
            document.insert(name.clone(), json!((value * 1000.0).round() / 1000.0));
        }
        document.insert("repetitions".to_owned(), json!(repetitions));
        std::fs::create_dir_all(out)?;
        let path = out.join(file);
        std::fs::write(&path, serde_json::to_string_pretty(&Value::Object(document))? + "\n")
            .with_context(|| format!("writing {}", path.display()))?;
        println!("written to {}", path.display());
        Ok(())
    }
}
