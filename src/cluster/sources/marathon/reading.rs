//! What is asked of Marathon: everything, one app or pod, the list of deployments.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use super::client::Client;
use super::reads::Next;
use crate::cluster::sources::http::{ClientError, Target};

/// What every list of apps is read with.
const APPS: &str = "/v2/apps?embed=apps.tasks&embed=apps.readiness";
pub(super) const PODS: &str = "/v2/pods::status";
const DEPLOYMENTS: &str = "/v2/deployments";

/// An answer that is awaited.
pub(super) type Reading<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A document, unless there is none of this kind or name.
pub(super) type Document = Result<Option<Bytes>, ClientError>;

/// Something that was read, or could not be.
pub(super) enum Read {
    /// The lists of apps and of pods.
    Everything(Result<(Bytes, Option<Bytes>), ClientError>),
    /// What there is with an id: an app, or a pod.
    One(String, Result<(Option<Bytes>, Option<Bytes>), ClientError>),
}

/// Asks for what is to be read next.
pub(super) fn read<'a>(client: &'a Client, target: &'a Target, next: Next) -> Reading<'a, Read> {
    match next {
        Next::Everything => Box::pin(async move { Read::Everything(lists(client, target).await) }),
        Next::One(id) => Box::pin(async move {
            let read = app_or_pod(client, target, &id).await;
            Read::One(id, read)
        }),
    }
}

/// Asks for the list of deployments.
pub(super) fn deployments<'a>(client: &'a Client, target: &'a Target) -> Reading<'a, Document> {
    Box::pin(async move { absent(client.read(target, DEPLOYMENTS).await) })
}

async fn lists(client: &Client, target: &Target) -> Result<(Bytes, Option<Bytes>), ClientError> {
    let apps = client.read(target, APPS).await?;
    Ok((apps, absent(client.read(target, PODS).await)?))
}

/// An id is an app's or a pod's: which, the first answer tells.
async fn app_or_pod(client: &Client, target: &Target, id: &str) -> Result<(Option<Bytes>, Option<Bytes>), ClientError> {
    let embed = "embed=app.tasks&embed=app.readiness&embed=apps.tasks&embed=apps.readiness";
    let app = absent(client.read(target, &format!("/v2/apps{id}?{embed}")).await)?;
    let pod = match &app {
        Some(_) => None,
        None => absent(client.read(target, &format!("/v2/pods{id}::status")).await)?,
    };
    Ok((app, pod))
}

/// That there is no such thing is an answer, too.
fn absent(answer: Result<Bytes, ClientError>) -> Document {
    match answer {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ClientError::Status { status: 404 | 405, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
