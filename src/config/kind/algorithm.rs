//! Ways of balancing.

use std::path::Path;

use serde_json::Value as Json;

use super::{Fault, Item, Kind, clip};
use crate::model::balance::{ALGORITHMS, Algorithm};

/// A way of balancing.
pub(crate) struct AlgorithmKind;

impl Kind for AlgorithmKind {
    type Value = Algorithm;

    fn noun(&self) -> String {
        "a way of balancing".into()
    }

    fn range(&self) -> String {
        ALGORITHMS.replace('`', "\"")
    }

    fn example(&self) -> String {
        "\"peak_ewma\"".into()
    }

    fn read(&self, item: &Item<'_>, _base: &Path) -> Result<Algorithm, Vec<Fault>> {
        let text = self.string(item)?;
        Algorithm::parse(text).map_err(|fault| {
            Fault::one(item.span(), format!("{:?}: {fault}", clip(text)), format!("write {}", self.range()))
        })
    }

    fn show(&self, value: &Algorithm) -> Json {
        value.to_string().into()
    }
}
