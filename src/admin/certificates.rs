//! `/v1/certificates`: those that are got by ACME, what is due, and why what failed did.

use serde::Serialize;

use super::context::AdminContext;
use super::query::Query;
use super::reply::{Answer, Reply};
use crate::acme::status::AuthorityStatus;

/// By authority.
#[derive(Debug, Serialize)]
struct CertificateList {
    authorities: Vec<AuthorityStatus>,
}

/// GET /v1/certificates.
pub(crate) fn list(context: &AdminContext, query: &Query) -> Answer {
    query.only(&[])?;
    Reply::json(&CertificateList { authorities: context.acme.authorities() })
}
