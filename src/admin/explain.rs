//! `/v1/explain`: why a name or a request is answered as it is.
//!
//! It asks the very code that answers ([`Routes::find_traced`], [`Names::find`]) and writes down what that code did;
//! it decides nothing itself. Only the rules of services, which look at the client too, are gone through apart ([`rules`]).
//!
//! [`Routes::find_traced`]: crate::table::routes::Routes::find_traced
//! [`Names::find`]: crate::table::names::Names::find

pub(crate) mod name;
pub(crate) mod request;
mod rules;

use serde::{Deserialize, Serialize};

use super::query::Query;
use super::reply::{Answer, ApiError, Reply};
use super::tables::TableVersion;
use crate::model::time::Timestamp;
use crate::table::Table;

/// What is explained: exactly one of both is there.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Explanation {
    /// The table that the answer comes from.
    pub table: TableVersion,
    pub name: Option<name::NameExplanation>,
    pub request: Option<request::RequestExplanation>,
}

/// GET /v1/explain.
pub(crate) fn explain(table: &Table, query: &Query, now: Timestamp) -> Answer {
    query.only(&["name", "type", "url", "method", "header"])?;
    let version = TableVersion::of(table, now);
    let explanation = match (query.text("name"), query.text("url")) {
        (Some(name), None) => {
            let name = name::explain(table, name, query.text("type"))?;
            Explanation { table: version, name: Some(name), request: None }
        }
        (None, Some(url)) => {
            let headers: Vec<&str> = query.all("header").collect();
            let request = request::explain(table, url, query.text("method").unwrap_or("GET"), &headers)?;
            Explanation { table: version, name: None, request: Some(request) }
        }
        _ => {
            let mend = "ask ?name=web.marathon.mesos[&type=A] or ?url=http://host/path[&method=GET][&header=Host:x]";
            return Err(ApiError::bad_request("give either name or url", mend));
        }
    };
    Reply::json(&explanation)
}
