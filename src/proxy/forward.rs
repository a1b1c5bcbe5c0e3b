//! Forwards one request: prepares it, tries endpoints, passes the answer on.

mod hedge;
mod patience;
mod pushback;

use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HOST, HeaderMap, HeaderValue, LOCATION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    STRICT_TRANSPORT_SECURITY, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::{Authority, Scheme, Uri};
use http::{Method, Request, Response, StatusCode, Version, response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::access_log::note::{self, Note};
use super::account::Account;
use super::answer_body::{AnswerBody, Carrier};
use super::auth;
use super::balance::choose::Ask;
use super::balance::limit::Waiting;
use super::balance::local::{Asking, Repeat};
use super::balance::queue::{self, Home, Wish};
use super::balance::{InFlight, limit, outcome, sticky};
use super::client_address::{client_address, is_trusted};
use super::connect::{self, Way};
use super::connection::Client;
use super::early::{Ear, Heard};
use super::error::AttemptFault;
use super::exchange::{self, Http1};
use super::filters;
use super::filters::Granted;
use super::filters::compress::{self, body::EncoderPlace, encoder::Encoder};
use super::filters::pages::Dress;
use super::filters::{forward_auth, jwt};
use super::flow::Flow;
use super::forwarded::{self, Hop};
use super::grpc;
use super::headers;
use super::http1::Engine;
use super::http1::relay::BareRelay;
use super::http1::upstream::{Bare, BareAnswer, Question, Read, canonical_length, request_head};
use super::http2::duplex::Duplex;
use super::http2::handles::{Reader, Writer};
use super::http2::link::{self, Answered, Asked, Stream};
use super::http2::upload::Beside;
use super::leash::{self, Hold};
use super::local;
use super::plan::{self, Plan};
use super::pool::{Http2Place, Place};
use super::proxy_protocol::{Addresses, Announcement};
use super::reason::Reason;
use super::request_body::{BodyFault, RequestBody, RequestSource};
use super::retry::{self, Decision, Situation};
use super::route::Destination;
use super::rules::{self, Content, Refusal};
use super::shortcut::{FirstTry, Resumed};
use super::spans::request::{Outcome, RecordedTry, RequestSpan};
use super::trace;
use super::upgrade::{self, Side, Tunnel};
use super::worker::{Opened, Worker};
use crate::config::checked::{ProxyConfig, ProxyLimits};
use crate::model::endpoint::Endpoint;
use crate::model::run::Moment;
use crate::model::service::Protocol;

/// Places of connections to endpoints that are kept for the clients of one connection.
const MOST_KEPT: usize = 32;

/// How often whoever waits for a further connection of HTTP/2 looks whether one that is open has room by now.
const ROOM_LOOK: Duration = Duration::from_millis(50);

/// What a request brings beside its head.
#[derive(Debug)]
pub struct Brought {
    /// Its content.
    pub upload: Upload,
    /// Who hears of interim answers to it.
    pub ear: Ear,
}

/// The content of a request.
#[derive(Debug)]
pub enum Upload {
    /// Nothing, and endpoints are asked in the plain way.
    Nothing,
    /// What comes from its client.
    Comes(Flow),
    /// The same, of which a first try has taken some.
    Begun(RequestSource),
}

impl Brought {
    /// Nothing, on a connection of HTTP/1.1.
    pub fn nothing(client: &Client) -> Self {
        Self { upload: Upload::Nothing, ear: Ear::Connection(client.watch.clone()) }
    }
}

impl Upload {
    fn has_content(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Comes(body) => !hyper::body::Body::is_end_stream(body),
            Self::Begun(body) => !body.is_empty(),
        }
    }
}

/// Answers a request of a client.
pub async fn answer(client: Rc<Client>, request: Request<Flow>, ear: Ear) -> Response<AnswerBody> {
    let (mut head, body) = request.into_parts();
    // As a plain one, if it asks for nothing but an answer: the plain way to endpoints of HTTP/1.1 passes no trailers on.
    let is_plain = hyper::body::Body::is_end_stream(&body) && !head.headers.contains_key(TE);
    let upload = if is_plain && client.worker.engine == Engine::Own { Upload::Nothing } else { Upload::Comes(body) };
    let brought = Brought { upload, ear };
    if head.method == Method::CONNECT
        && upgrade::translate(&mut head, client.worker.rng.borrow_mut().u128(..).to_ne_bytes())
    {
        let mut answer = Box::pin(answer_parts(client, head, brought)).await;
        // RFC 9110 section 9.3.6: any 2xx would tell the client that its tunnel is there.
        if !matches!(answer.body(), AnswerBody::Switched(_)) && answer.status().is_success() {
            *answer.status_mut() = StatusCode::NOT_IMPLEMENTED;
        }
        return answer;
    }
    answer_parts(client, head, brought).await
}

/// Answers a plain request of a client of HTTP/1.1: without a body, and with endpoints asked in the same way.
pub async fn answer_plain(client: Rc<Client>, head: Parts) -> Response<AnswerBody> {
    let brought = Brought::nothing(&client);
    answer_parts(client, head, brought).await
}

/// Goes on with a plain request whose first try was made already ([`super::shortcut`]).
pub async fn resume(client: Rc<Client>, head: Parts, resumed: Resumed, brought: Brought) -> Response<AnswerBody> {
    let Resumed { account, endpoint, first } = resumed;
    // The table may be another by now, and ask for more.
    let number = client.watch.requests();
    let made = plan::make_anyway(&client, &head, brought.upload.has_content());
    answer_made(client, number, made, head, brought, account, Some((endpoint, first))).await
}

async fn answer_parts(client: Rc<Client>, head: Parts, brought: Brought) -> Response<AnswerBody> {
    let number = client.watch.begin();
    let mut account = Account::begin(client.clone(), Instant::now());
    if grpc::is_call(&head) {
        account.is_a_call();
    }
    // RFC 9110 section 9.3.2: no content, which over HTTP/2 is left to us.
    let is_headless = head.version == Version::HTTP_2 && head.method == Method::HEAD;
    let made = plan::make(&client, number, &head, brought.upload.has_content());
    let mut answer = answer_made(client, number, made, head, brought, account, None).await;
    if is_headless
        && let Some(length) = answer.body_mut().withhold()
        // RFC 9110 section 8.6.
        && !matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        answer.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    answer
}

/// Does what a plan says, or answers in its place; `first`: a try that was made already.
async fn answer_made(
    client: Rc<Client>,
    number: u32,
    made: Result<Plan, Refusal>,
    head: Parts,
    brought: Brought,
    mut account: Account,
    first: Option<(Arc<Endpoint>, FirstTry)>,
) -> Response<AnswerBody> {
    account.note = match &made {
        Ok(plan) => note::begin(&client, &plan.config, &head, Some(plan), account.started()),
        Err(refusal) if client.watch.is_unread(number) => {
            note::unread(&client, &client.worker.config(), refusal.reason)
        }
        Err(_) => note::begin(&client, &client.worker.config(), &head, None, account.started()),
    };
    match made {
        Ok(mut plan) => match admit(&client, &plan, &head).await {
            Ok(granted) => {
                let forwarding = Forwarding::new(client, plan, head, brought, account, &granted);
                match first {
                    None => forwarding.run(None).await,
                    // Boxed: few requests come this way.
                    Some((endpoint, first)) => Box::pin(forwarding.go_on(endpoint, first)).await,
                }
            }
            Err(refusal) => {
                account.belongs_to(&plan.local);
                ask_for_page(&client, plan.dress.as_deref_mut(), &refusal, &account).await;
                let mut answer = refuse(&client, refusal, head.version, account, plan.dress.as_deref());
                finish(&client, &plan, answer.headers_mut());
                answer
            }
        },
        Err(refusal) => {
            let pages = refusal.by.as_ref().and_then(|by| by.pages);
            let mut dress = Dress::of(&client.worker.config(), pages, &head);
            ask_for_page(&client, dress.as_deref_mut(), &refusal, &account).await;
            refuse(&client, refusal, head.version, account, dress.as_deref())
        }
    }
}

/// What takes time to find out: whether the password is right, and what those say whom filters ask.
async fn admit(client: &Client, plan: &Plan, head: &Parts) -> Result<Granted, Refusal> {
    // Browsers send no password with it (Fetch Standard, "CORS-preflight fetch").
    if plan.filtered.cors.as_ref().is_some_and(|cors| cors.is_preflight) {
        let content = Some(Box::new(Content { content_type: "text/plain".into(), body: "".into() }));
        return Err(Refusal { content, ..Reason::Preflight.into() });
    }
    if let Some(auth) = plan.rules.as_ref().and_then(|rules| rules.auth.as_ref()) {
        auth::check(&client.worker, auth, &head.headers).await?;
    }
    // Boxed is what a plain request need not have room for.
    let granted = match plan.filtered.asking.is_empty() {
        true => Granted::default(),
        false => Box::pin(ask(client, plan, head)).await?,
    };
    if let Some(refusal) = plan.rules.as_ref().and_then(|rules| rules::root_redirect(rules, &plan.admitted)) {
        return Err(refusal);
    }
    plan.instead.clone().map_or(Ok(granted), Err)
}

/// Tokens first: they cost nobody else anything.
async fn ask(client: &Client, plan: &Plan, head: &Parts) -> Result<Granted, Refusal> {
    let mut granted = Granted::default();
    let filters = || plan.filtered.asking.iter().filter_map(|position| plan.config.proxy.filters.get(*position));
    for filter in filters() {
        let refused = |refusal: Refusal| refusal.by(Some(&filter.name), None);
        granted.0.extend(jwt::check(&filter.jwt, &head.headers).map_err(refused)?.0);
    }
    for filter in filters() {
        let hop = hop(client, plan, &head.headers);
        let asked = forward_auth::check(&client.worker, &filter.forward_auth, &hop, head, &plan.config.proxy).await;
        let refused = |refusal: Refusal| refusal.by(Some(&filter.name), None);
        granted.0.extend(asked.map_err(refused)?.0);
    }
    Ok(granted)
}

/// Has a service give the page of an answer of our own, where a filter says so.
async fn ask_for_page(client: &Client, dress: Option<&mut Dress>, refusal: &Refusal, account: &Account) {
    if let Some(dress) = dress.filter(|dress| dress.asks())
        && let Some(status) = local::dressed_status(refusal, account)
    {
        let config = client.worker.config();
        // Boxed is what a plain request need not have room for.
        Box::pin(dress.ask(&client.worker, &config, status)).await;
    }
}

fn refuse(
    client: &Client,
    refusal: Refusal,
    version: Version,
    account: Account,
    dress: Option<&Dress>,
) -> Response<AnswerBody> {
    debug!(client = %client.peer, reason = refusal.reason.code(), "request refused");
    local::answer(&client.worker, refusal, version, account, dress)
}

/// A request on its way.
struct Forwarding {
    client: Rc<Client>,
    plan: Plan,
    method: Method,
    /// As the client sent it.
    version: Version,
    /// Ready for the next hop. Each attempt gets a copy: even the last one that counts may turn out to have sent nothing.
    headers: HeaderMap,
    /// Sending it twice has the effect of sending it once.
    is_repeatable: bool,
    body: RequestSource,
    /// Who hears of interim answers.
    ear: Ear,
    /// Who speaks HTTP/1.1 with endpoints.
    engine: Engine,
    /// The client's side of an upgrade.
    upgrade: Option<Upgrade>,
    /// It is a WebSocket over HTTP/2.
    over_http2: bool,
    /// What a WebSocket's endpoint has to answer.
    accept: Option<HeaderValue>,
    account: Account,
    /// The one address of the client.
    address: IpAddr,
    attempts: u32,
    /// Of these: attempts that found nobody listening.
    unanswered: u32,
    /// Endpoints that were asked.
    asked: u32,
    /// Endpoints that failed: they get the request no second time.
    tried: SmallVec<[Arc<Endpoint>; 2]>,
    /// The answer of an endpoint that has no time for the request: what the client gets if no other does better.
    aside: Option<Box<Aside>>,
    /// Counts while the service's limit is found out.
    asking: Option<Asking>,
    /// Why the last one failed.
    last_fault: Option<Reason>,
    /// The attempt under way is one of the budget's.
    repeat: Option<Repeat>,
    /// What the budget has given for the next one already.
    granted: Option<Repeat>,
    /// It has a copy, or is one.
    pair: Option<(hedge::Role, Rc<hedge::Pair>)>,
    /// Repeat at this endpoint, on a fresh connection.
    fresh: Option<Arc<Endpoint>>,
    was_fresh: bool,
    attempt_begun: Instant,
    /// The request's span, where it is recorded.
    span: Option<Rc<RequestSpan>>,
}

fn moment(instant: Instant) -> Moment {
    Moment::of(instant.into_std())
}

/// The client's side of an upgrade that is asked for.
enum Upgrade {
    Connection(OnUpgrade),
    /// The request's own stream (RFC 8441).
    Stream,
}

/// The beginning of an answer, and what carries the rest.
struct Begun {
    head: response::Parts,
    rest: Rest,
}

/// An answer that waits, with what it holds of its endpoint.
struct Aside {
    begun: Begun,
    endpoint: Arc<Endpoint>,
    in_flight: Option<InFlight>,
    hold: Option<Hold>,
}

enum Rest {
    /// Read by hyper.
    Incoming(Incoming, Carrier),
    /// Over HTTP/2; the way to the endpoint, where it is to be a tunnel.
    Stream(Reader, Option<Writer>, Stream),
    /// Read by ourselves.
    Bare(BareAnswer),
}

impl Begun {
    fn new(answer: Response<Incoming>, carrier: Carrier) -> Self {
        let (head, body) = answer.into_parts();
        Self { head, rest: Rest::Incoming(body, carrier) }
    }

    fn streamed(answered: Answered, stream: Stream) -> Self {
        let Answered { head, body, tunnel } = answered;
        Self { head, rest: Rest::Stream(body, tunnel, stream) }
    }
}

impl Forwarding {
    fn new(
        client: Rc<Client>,
        plan: Plan,
        mut head: Parts,
        brought: Brought,
        mut account: Account,
        granted: &Granted,
    ) -> Self {
        account.belongs_to(&plan.local);
        plan.local.budget.borrow_mut().deposit(plan.config.proxy.retry_ratio, moment(account.started()));
        if plan.config.proxy.hedging.ratio > 0.0 {
            plan.local.hedging.borrow_mut().deposit(plan.config.proxy.hedging.ratio);
        }
        let over_http2 = upgrade::is_over_http2(&head);
        let upgrade = match head.extensions.remove::<OnUpgrade>() {
            _ if plan.upgrade.is_none() => None,
            _ if over_http2 => Some(Upgrade::Stream),
            upgrade => upgrade.map(Upgrade::Connection),
        };
        let accept = upgrade.as_ref().and_then(|_| head.headers.get(SEC_WEBSOCKET_KEY)).map(upgrade::accept);
        let address = prepare(&client, &plan, &mut head, account.note.as_deref());
        granted.write(&mut head.headers);
        let Brought { upload: body, ear } = brought;
        let (body, engine) = match body {
            Upload::Comes(body) => {
                let most = plan.filtered.max_body.unwrap_or(u64::MAX);
                (RequestSource::new(body, &plan.config.proxy, most, client.worker.shard.clone()), Engine::Hyper)
            }
            Upload::Begun(body) => (body, Engine::Hyper),
            Upload::Nothing => (RequestSource::empty(), Engine::Own),
        };
        if let Some(note) = &account.note {
            body.tell(&note.received);
        }
        if account.is_call() {
            body.may_rest();
        }
        let span = account.note.as_ref().and_then(|note| note.span.clone());
        Self {
            body,
            ear,
            engine,
            is_repeatable: retry::is_repeatable(&head.method, &head.headers),
            method: head.method,
            version: head.version,
            headers: head.headers,
            upgrade,
            over_http2,
            accept,
            account,
            address,
            attempts: 0,
            unanswered: 0,
            asked: 0,
            tried: SmallVec::new(),
            aside: None,
            asking: None,
            last_fault: None,
            repeat: None,
            granted: None,
            pair: None,
            fresh: None,
            was_fresh: false,
            attempt_begun: Instant::now(),
            span,
            client,
            plan,
        }
    }

    /// Goes on after a first try that was made elsewhere.
    async fn go_on(mut self, endpoint: Arc<Endpoint>, first: FirstTry) -> Response<AnswerBody> {
        (self.attempts, self.asked) = (1, 1);
        self.attempt_begun = self.account.started();
        let answer = match first {
            FirstTry::Chosen => self.attempt(&endpoint).await,
            FirstTry::Heard(connection, read) => self.attempt_heard(connection, read).await,
            FirstTry::Asked(asked, stream) => self.attempt_asked(asked, stream).await,
            FirstTry::Answered(fields, asked, stream) => {
                let answered = link::answered(&fields, asked, self.beside_answer());
                answered.map(|answered| Begun::streamed(answered, stream)).and_then(|begun| self.checked(begun))
            }
            FirstTry::Failed(fault) => Err(fault),
        };
        self.run(Some((endpoint, answer))).await
    }

    /// Asks one endpoint after the other, until there is an answer; `made`: a try that was made already.
    async fn run(mut self, mut made: Option<(Arc<Endpoint>, Result<Begun, AttemptFault>)>) -> Response<AnswerBody> {
        if made.is_none() && self.proxy().adaptive.enabled && !self.is_within_limit() {
            return Box::pin(self.refuse(Reason::TooManyRequests)).await;
        }
        loop {
            let (endpoint, answer) = match made.take() {
                Some(made) => made,
                None => {
                    let Some((mut endpoint, is_probe)) = self.next_endpoint().await else {
                        let reason = self.last_fault.unwrap_or(Reason::NoEndpoint);
                        return Box::pin(self.give_up(reason)).await;
                    };
                    self.begin_attempt(&endpoint, is_probe);
                    let answer = match self.proxy().hedging.ratio > 0.0 {
                        // Boxed: few have it.
                        true => Box::pin(self.attempt_hedged(&mut endpoint)).await,
                        false => self.attempt(&endpoint).await,
                    };
                    (endpoint, answer)
                }
            };
            match answer {
                Ok(begun) => {
                    self.measure(&begun);
                    let pause = self.repeat_after(&begun);
                    if pause.is_none() || !Box::pin(self.may_be_repeated(None)).await {
                        self.ask_for_replacement(&begun).await;
                        return self.pass_on(begun, &endpoint);
                    }
                    self.set_aside(begun, endpoint);
                    if let Some(pause) = pause.filter(|pause| !pause.is_zero()) {
                        // Boxed: few requests wait here.
                        Box::pin(tokio::time::sleep(pause)).await;
                    }
                }
                // Boxed: few requests need it.
                Err(fault) => {
                    if let Some(reason) = Box::pin(self.after(fault, endpoint)).await {
                        return Box::pin(self.give_up(reason)).await;
                    }
                }
            }
        }
    }

    fn begin_attempt(&mut self, endpoint: &Arc<Endpoint>, is_probe: bool) {
        self.asked = self.attempts;
        let (seat, local) = (self.worker().seat, self.plan.local.clone());
        self.attempt_begun = Instant::now();
        self.account.in_flight = Some(InFlight::begin(endpoint.clone(), seat, local, self.attempt_begun, is_probe));
        self.account.hold = Some(self.worker().leashes.hold(endpoint));
    }

    /// Whether the service can take one more request, as far as is found out; it is counted then.
    fn is_within_limit(&mut self) -> bool {
        let local = &self.plan.local;
        let is_within = local.asking.get() < local.gradient.borrow().limit(&self.proxy().adaptive);
        self.asking = is_within.then(|| Asking::begin(local));
        is_within
    }

    fn worker(&self) -> &Rc<Worker> {
        &self.client.worker
    }

    fn proxy(&self) -> &ProxyConfig {
        &self.plan.config.proxy
    }

    fn limits(&self) -> &ProxyLimits {
        &self.plan.config.proxy.limits
    }

    /// The endpoint to try now, and whether the request is its probe. When all have failed, the newest table is looked
    /// at after a pause, as often as there are attempts left: meanwhile tasks may have been replaced.
    async fn next_endpoint(&mut self) -> Option<(Arc<Endpoint>, bool)> {
        if let Some(endpoint) = self.fresh.clone() {
            return Some((endpoint, false));
        }
        self.attempts += 1;
        if self.attempts > 1 {
            // Who began to go away since the first attempt gets no new one.
            self.client.worker.with_table(|table| self.plan.destination.renew(table));
        }
        let mut pauses = 0;
        loop {
            let chosen = if self.has_to_stand_in_line() { None } else { self.choose(None) };
            if chosen.is_none() && self.may_wait() {
                // Boxed: few services have a line.
                match Box::pin(self.stand_in_line()).await {
                    Ok(chosen) => return chosen,
                    // Those that failed had room: perhaps one of them has been replaced.
                    Err(Reason::EndpointsFull) if !self.tried.is_empty() => {}
                    Err(reason) => {
                        self.last_fault.get_or_insert(reason);
                        return None;
                    }
                }
            }
            if chosen.is_some() || self.tried.is_empty() || self.attempts + pauses > self.proxy().max_attempts {
                return chosen;
            }
            let worker = self.client.worker.clone();
            let random = worker.rng.borrow_mut().f64();
            tokio::time::sleep(retry::backoff(pauses, random)).await;
            pauses += 1;
            worker.with_table(|table| self.plan.destination.renew(table));
        }
    }

    /// Endpoints that were asked: the last attempt may have found none.
    fn attempts_made(&self) -> u32 {
        self.asked
    }

    /// Whether others came first who wait for what the request could have.
    fn has_to_stand_in_line(&self) -> bool {
        let local = &self.plan.local;
        !local.queue.is_empty() && local.queue.is_before(&self.wish()) && self.waiting().is_some()
    }

    /// How the request may wait for room; `None`: nothing has a limit.
    fn waiting(&self) -> Option<Waiting> {
        let destination = &self.plan.destination;
        let home = destination.home(&self.tried).map(|home| &**home);
        limit::waiting(&destination.service, home, &self.proxy().balance)
    }

    /// Whether there is an endpoint for which the request could wait.
    fn may_wait(&self) -> bool {
        let is_awaited = |home: Arc<Endpoint>| limit::is_limited(&home, &self.proxy().balance);
        self.plan.destination.has_another(&self.tried) || self.home().is_some_and(is_awaited)
    }

    /// The endpoint that the client stays on.
    fn home(&self) -> Option<Arc<Endpoint>> {
        self.plan.destination.session?;
        self.with_ask(moment(Instant::now()), |ask| self.plan.destination.stays_on(&self.tried, ask).cloned())
    }

    /// What the request waits for, where it has to wait.
    fn wish(&self) -> Wish {
        let Destination { service, version, .. } = &self.plan.destination;
        let tried = self.tried.iter().map(|tried| tried.id.fingerprint()).collect();
        match self.home() {
            Some(home) => {
                let is_apart = service.available.get(&home.id).is_none();
                let place = Home { endpoint: home.id.fingerprint(), is_apart };
                Wish { version: Some(home.version.clone()), home: Some(place), tried }
            }
            None => Wish { version: version.clone(), home: None, tried },
        }
    }

    /// All endpoints that the request could go to are full, or the one that its client is kept on: waits until one is not,
    /// where there is a limit.
    async fn stand_in_line(&mut self) -> Result<Option<(Arc<Endpoint>, bool)>, Reason> {
        let (worker, local) = (self.client.worker.clone(), self.plan.local.clone());
        let waiting = self.waiting().ok_or(Reason::EndpointsFull)?;
        let Some(place) = local.queue.enter(self.wish(), waiting.most, &worker.shard) else {
            return self.leave_home(None).ok_or(Reason::QueueFull).map(Some);
        };
        let _queued = self.account.note.as_mut().map(|note| note.stands_in_line());
        let until = self.deadline().min(Instant::now() + waiting.time);
        loop {
            if timeout_at(until, place.turn()).await.is_err() {
                return self.leave_home(Some(&place)).ok_or(Reason::QueueTimeout).map(Some);
            }
            worker.with_table(|table| self.plan.destination.renew(table));
            let chosen = self.choose(Some(&place));
            if chosen.is_some() || !self.may_wait() {
                drop(place);
                if let Some((endpoint, _)) = &chosen {
                    // Several requests may have ended there, for which one was told.
                    local.queue.tell_fitting(endpoint.id.fingerprint(), &endpoint.version);
                }
                return Ok(chosen);
            }
            // Others may want what is there.
            place.pass(self.wish());
        }
    }

    /// The endpoint that the client is kept on had no room for it: another one that has, where its session goes on.
    fn leave_home(&mut self, place: Option<&queue::Place>) -> Option<(Arc<Endpoint>, bool)> {
        self.plan.destination.session.take()?;
        let is_late = Instant::now() >= self.deadline();
        if is_late || self.has_to_stand_in_line() { None } else { self.choose(place) }
    }

    fn choose(&self, place: Option<&queue::Place>) -> Option<(Arc<Endpoint>, bool)> {
        let now = if self.attempts == 1 { self.account.started() } else { Instant::now() };
        self.with_ask(moment(now), |ask| {
            let rng = &mut self.client.worker.rng.borrow_mut();
            let chosen = self.plan.destination.choose(&self.tried, self.limits(), ask, place, rng);
            chosen.map(|(endpoint, is_probe)| (endpoint.clone(), is_probe))
        })
    }

    /// Looks at the service as it is at `now`.
    fn with_ask<T>(&self, now: Moment, look: impl FnOnce(&Ask<'_>) -> T) -> T {
        let plan = &self.plan;
        self.client.worker.with_ask(&plan.destination.service, &plan.local, &plan.config, now, |ask| {
            // A repeat is no probe: it has been put off once, and may be the last.
            let is_repeatable = self.attempts == 1 && self.may_repeat();
            look(&Ask { key: plan.key, is_repeatable, ..ask })
        })
    }

    async fn attempt(&mut self, endpoint: &Arc<Endpoint>) -> Result<Begun, AttemptFault> {
        let recorded = self.record_try(endpoint);
        let begun = match endpoint.protocol {
            // Boxed is what a plain request need not have room for.
            Protocol::H2c | Protocol::H2 if self.is_websocket() => Box::pin(self.attempt_stream(endpoint)).await,
            Protocol::H2c | Protocol::H2 => Box::pin(self.attempt_http2(endpoint)).await,
            _ if self.upgrade.is_some() => Box::pin(self.attempt_upgrade(endpoint)).await,
            _ if self.engine == Engine::Own && connect::is_plain(endpoint) => self.attempt_bare(endpoint).await,
            _ => Box::pin(self.attempt_http1(endpoint)).await,
        };
        let begun = begun.and_then(|begun| self.checked(begun));
        if let Some(recorded) = recorded {
            recorded.ended(match &begun {
                Ok(begun) => Outcome::Answered(begun.head.status.as_u16()),
                Err(fault) => Outcome::Failed(fault.reason()),
            });
        }
        begun
    }

    fn checked(&self, begun: Begun) -> Result<Begun, AttemptFault> {
        check_answer(&begun.head, self.upgrade.is_some())?;
        self.check_handshake(&begun.head)?;
        Ok(begun)
    }

    /// Where the request is recorded: the try gets a span of its own, which the endpoint is told as its parent.
    fn record_try(&mut self, endpoint: &Arc<Endpoint>) -> Option<RecordedTry> {
        let span = self.span.as_ref()?;
        let id = self.client.worker.rng.borrow_mut().u64(1..);
        trace::pass_on(&mut self.headers, span.context().at(id));
        Some(span.ask(id, endpoint.clone(), self.plan.target.clone()))
    }

    async fn attempt_http1(&mut self, endpoint: &Arc<Endpoint>) -> Result<Begun, AttemptFault> {
        let kept = match self.fresh {
            None => self.worker().pool.take_http1(&self.place(endpoint), endpoint, Instant::now()),
            Some(_) => None,
        };
        let mut connection = match kept {
            Some(kept) => {
                self.worker().shard.upstream_reused.increment();
                kept.into_http1().await?
            }
            None => connect::http1(&self.way(endpoint), self.opened()).await?,
        };
        let (request, heard) = self.request_http1();
        let answer = self.within(connection.send(request, || heard.pass_on())).await?;
        Ok(Begun::new(answer, self.carry(connection, endpoint)))
    }

    async fn attempt_bare(&mut self, endpoint: &Arc<Endpoint>) -> Result<Begun, AttemptFault> {
        let kept = match self.fresh {
            None => self.worker().pool.take_bare(endpoint, Instant::now()),
            Some(_) => None,
        };
        let connection = match kept {
            Some(connection) => {
                self.worker().shard.upstream_reused.increment();
                connection
            }
            None => Bare::open(endpoint.address, self.connect_time(), self.opened()).await?,
        };
        let ear = self.ear.clone();
        let question = self.question(&ear);
        let (head, answer) = self.within(connection.ask(&question)).await?;
        Ok(Begun { head, rest: Rest::Bare(answer) })
    }

    /// Waits for the answer to a request that was sent already, of which this has come.
    async fn attempt_heard(&mut self, connection: Bare, read: Read) -> Result<Begun, AttemptFault> {
        let ear = self.ear.clone();
        let question = self.question(&ear);
        let (head, answer) = self.within_since(self.attempt_begun, connection.hear(&question, read)).await?;
        self.checked(Begun { head, rest: Rest::Bare(answer) })
    }

    fn question<'a>(&self, ear: &'a Ear) -> Question<'a> {
        Question {
            head: request_head(&self.method, &self.plan.target, &self.headers),
            is_head: self.method == Method::HEAD,
            ear,
            via: self.proxy().via.clone(),
        }
    }

    /// While the request's body still flows, whoever reads the answer must not be the one who drives the connection:
    /// a client that reads late would hold up its own upload.
    fn carry(&self, connection: Http1, endpoint: &Endpoint) -> Carrier {
        if self.body.is_finished() {
            return Carrier::Http1(connection, self.place(endpoint));
        }
        // Without its sender the connection ends with this exchange.
        let (_, driver, opened) = connection.into_driver();
        let opened = Rc::new(opened);
        let carrier = Carrier::Detached(opened.clone());
        if let Some(driver) = driver {
            self.worker().tasks.spawn_local(async move {
                // Whoever reads the answer hears of an error.
                let _ = driver.await;
                drop(opened);
            });
        }
        carrier
    }

    async fn attempt_upgrade(&mut self, endpoint: &Arc<Endpoint>) -> Result<Begun, AttemptFault> {
        let connection = connect::http1(&self.way(endpoint), self.opened()).await?;
        let (mut sender, driver, opened) = connection.into_driver();
        let driver = driver.ok_or(AttemptFault::Unsent { reused: false })?;
        let driver = (*Pin::into_inner(driver)).with_upgrades();
        let opened = Rc::new(opened);
        let carrier = Carrier::Detached(opened.clone());
        self.worker().tasks.spawn_local(async move {
            // Whoever reads the answer hears of an error.
            let _ = driver.await;
            drop(opened);
        });
        let (request, heard) = self.request_http1();
        let answer = self.within(exchange::send_detached(&mut sender, request)).await?;
        // Late, as another task has read them, and still before their answer.
        heard.pass_on();
        Ok(Begun::new(answer, carrier))
    }

    async fn attempt_http2(&mut self, endpoint: &Arc<Endpoint>) -> Result<Begun, AttemptFault> {
        let stream = self.stream(endpoint).await?;
        let request = self.request_http2(endpoint);
        self.ask_stream(stream, request).await
    }

    async fn ask_stream(&mut self, stream: Stream, request: Request<RequestBody>) -> Result<Begun, AttemptFault> {
        let (worker, via, ear) = (self.worker().clone(), self.proxy().via.clone(), self.ear.clone());
        let beside = Beside { tasks: &worker.tasks, stall: self.limits().idle };
        let sent = stream.send(request, beside, |head| ear.hears(head, &via));
        let answered = self.within(sent).await?;
        Ok(Begun::streamed(answered, stream))
    }

    /// Waits for the answer to a request that was sent as a stream already.
    async fn attempt_asked(&mut self, asked: Asked, stream: Stream) -> Result<Begun, AttemptFault> {
        let (worker, via, ear) = (self.worker().clone(), self.proxy().via.clone(), self.ear.clone());
        let beside = Beside { tasks: &worker.tasks, stall: self.limits().idle };
        let heard = stream.hear(asked, beside, |head| ear.hears(head, &via));
        let answered = self.within_since(self.attempt_begun, heard).await?;
        self.checked(Begun::streamed(answered, stream))
    }

    /// How what is left of the body is sent when the answer has begun.
    fn beside_answer(&self) -> Beside<'_> {
        Beside { tasks: &self.worker().tasks, stall: self.limits().idle }
    }

    fn is_websocket(&self) -> bool {
        self.upgrade.is_some() && self.plan.upgrade.as_ref().is_some_and(upgrade::is_websocket)
    }

    /// A WebSocket as a stream (RFC 8441); where the endpoint takes none, what it makes of the request without.
    async fn attempt_stream(&mut self, endpoint: &Arc<Endpoint>) -> Result<Begun, AttemptFault> {
        let stream = self.stream(endpoint).await?;
        let takes = stream.takes_websockets().await;
        let mut request = self.request_http2(endpoint);
        if takes {
            *request.method_mut() = Method::CONNECT;
            request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
            request.headers_mut().remove(SEC_WEBSOCKET_KEY);
        }
        let mut begun = self.ask_stream(stream, request).await?;
        if takes && begun.head.status.is_success() {
            // In the terms of HTTP/1.1, as all other answers.
            begun.head.status = StatusCode::SWITCHING_PROTOCOLS;
            begun.head.headers.insert(UPGRADE, upgrade::WEBSOCKET);
            if let Some(accept) = self.accept.clone() {
                begun.head.headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
            }
        }
        Ok(begun)
    }

    /// What a client of HTTP/2 leaves to whoever speaks HTTP/1.1 for it: that the endpoint has understood (RFC 6455 section
    /// 4.1), and that no other answer is taken for a tunnel.
    fn check_handshake(&self, answer: &response::Parts) -> Result<(), AttemptFault> {
        if !self.over_http2 {
            return Ok(());
        }
        let is_accepted = answer.headers.get(SEC_WEBSOCKET_ACCEPT) == self.accept.as_ref();
        match answer.status {
            StatusCode::SWITCHING_PROTOCOLS if !is_accepted => Err(AttemptFault::Invalid),
            status if status.is_success() => Err(AttemptFault::Invalid),
            _ => Ok(()),
        }
    }

    /// A place for a stream. Where a further connection does not come, one that is open takes it: its endpoint serves.
    async fn stream(&self, endpoint: &Arc<Endpoint>) -> Result<Stream, AttemptFault> {
        let (pool, place) = (&self.worker().pool, self.place(endpoint));
        let mut deadline = Instant::now() + self.connect_time();
        loop {
            match pool.take_http2(&place, endpoint, self.limits(), Instant::now()) {
                Http2Place::Stream(stream) => {
                    if stream.reused {
                        self.worker().shard.upstream_reused.increment();
                    }
                    return Ok(stream);
                }
                Http2Place::Open(opening) => {
                    let tasks = &self.worker().tasks;
                    return match connect::http2(&self.way(endpoint), self.opened(), tasks).await {
                        Ok(connection) => Ok(opening.opened(connection, tasks, self.connect_time() / 2)),
                        Err(fault) => pool.crowd_http2(&place).ok_or(fault),
                    };
                }
                Http2Place::Wait(coming) => {
                    // Places on open connections become free meanwhile.
                    let look = deadline.min(Instant::now() + ROOM_LOOK);
                    let is_told = timeout_at(look, coming.told.notified()).await.is_ok();
                    if !is_told && Instant::now() >= deadline {
                        return pool.crowd_http2(&place).ok_or(AttemptFault::ConnectTimeout);
                    }
                    if coming.has_come.get() {
                        // Others may have taken all places on it: the next one has its own time.
                        deadline = Instant::now() + self.connect_time();
                    }
                }
            }
        }
    }

    fn way<'a>(&'a self, endpoint: &'a Endpoint) -> Way<'a> {
        let Worker { tls, shard, .. } = &**self.worker();
        let announcement = self.announcement(endpoint);
        Way { endpoint, announcement, limit: self.connect_time(), profiles: tls, shard }
    }

    /// What the endpoint is told of the client, where it wants to be told.
    fn announcement(&self, endpoint: &Endpoint) -> Option<Announcement> {
        let version = endpoint.proxy_protocol?;
        let peer = self.client.peer;
        // Of a client that another proxy names, the port is not known.
        let port = if self.address == peer.ip().to_canonical() { peer.port() } else { 0 };
        let addresses = Addresses { source: SocketAddr::new(self.address, port), destination: self.client.local };
        Some(Announcement { version, addresses: Some(addresses) })
    }

    /// Where connections to the endpoint are kept that do for this request.
    fn place(&self, endpoint: &Endpoint) -> Place {
        let place = Place::of(endpoint, self.announcement(endpoint), &self.worker().tls);
        if endpoint.proxy_protocol.is_some() {
            self.keep_place(&place);
        }
        place
    }

    /// Notes a place that goes with the client's connection. Behind a trusted proxy one connection may bring any number of
    /// clients: of more than a few, the one that was used longest ago is forgotten.
    fn keep_place(&self, place: &Place) {
        let mut kept = self.client.kept.borrow_mut();
        let known = kept.iter().position(|known| known == place).map(|position| kept.remove(position));
        if known.is_none() && kept.len() >= MOST_KEPT {
            self.worker().pool.forget(&[kept.remove(0)]);
        }
        kept.push(known.unwrap_or_else(|| place.clone()));
    }

    fn opened(&self) -> Opened {
        Opened::count(self.worker().shard.clone())
    }

    /// The request, and what is to be passed on of what comes before its answer.
    fn request_http1(&self) -> (Request<RequestBody>, Heard) {
        let mut request = Request::new(self.body.reader());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.plan.target.clone().into();
        *request.headers_mut() = self.headers.clone();
        let heard = self.ear.pass_on(&mut request, self.proxy().via.clone());
        (request, heard)
    }

    fn request_http2(&self, endpoint: &Endpoint) -> Request<RequestBody> {
        let mut request = Request::new(self.body.reader());
        *request.method_mut() = self.method.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.absolute_target(endpoint);
        let mut headers = self.headers.clone();
        headers.remove(HOST);
        if let Some(time) = self.plan.call {
            // Of the whole call, and not of this attempt alone: `per_try` is a time for the beginning of its answer.
            let left = (self.account.started() + time).saturating_duration_since(Instant::now());
            headers.insert(grpc::TIMEOUT, grpc::timeout_value(left));
        }
        if self.account.is_call() {
            grpc::count_attempts(&mut headers, self.attempts - self.unanswered);
        }
        *request.headers_mut() = headers;
        request
    }

    /// Scheme, authority and path: the pseudo-header fields of HTTP/2 (RFC 9113 section 8.3.1).
    fn absolute_target(&self, endpoint: &Endpoint) -> Uri {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(if endpoint.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
        // A request of HTTP/1.0 may have named no host; a scope identifier is no part of an authority.
        let address = || SocketAddr::new(endpoint.address.ip(), endpoint.address.port()).to_string();
        let authority = Authority::try_from(self.plan.host.as_bytes());
        uri.authority = authority.or_else(|_| Authority::try_from(address())).ok();
        uri.path_and_query = Some(self.plan.target.clone());
        Uri::from_parts(uri).expect("scheme, authority and path are there and were checked")
    }

    /// The attempts that count.
    fn counted_attempts(&self) -> u32 {
        retry::counted(self.attempts, self.unanswered, self.proxy().max_attempts)
    }

    /// Whether another attempt could follow this one after something was sent.
    fn may_repeat(&self) -> bool {
        self.counted_attempts() < self.proxy().max_attempts && self.is_repeatable && self.body.is_whole()
    }

    /// Whether another attempt could follow at another endpoint.
    fn may_go_elsewhere(&self) -> bool {
        self.may_repeat() && self.has_another()
    }

    /// Whether there is an endpoint that has not failed and is not being tried.
    fn has_another(&self) -> bool {
        self.plan.destination.has_another(&self.taken())
    }

    /// The endpoints that have failed, and those that are being tried.
    fn taken(&self) -> SmallVec<[Arc<Endpoint>; 2]> {
        let trying = self.account.in_flight.as_ref().map(|in_flight| in_flight.endpoint().clone());
        let second = self.pair.as_ref().and_then(|(_, pair)| pair.second.get().cloned());
        self.tried.iter().cloned().chain(trying).chain(second).collect()
    }

    /// Decides after a failed attempt; returns the reason of the answer if it was the last.
    async fn after(&mut self, fault: AttemptFault, endpoint: Arc<Endpoint>) -> Option<Reason> {
        let fault = self.body.fault().map_or(fault, AttemptFault::Body);
        self.count(&fault);
        self.unanswered += u32::from(fault.is_unanswered());
        debug!(endpoint = %endpoint.id, address = %endpoint.address, error = %fault, "attempt failed");
        let situation = Situation {
            attempts: self.counted_attempts(),
            max_attempts: self.proxy().max_attempts,
            idempotent: self.is_repeatable,
            body_is_whole: self.body.is_whole(),
            was_fresh: self.was_fresh,
            has_another: self.has_another(),
        };
        self.fresh = None;
        let shard = self.client.worker.shard.clone();
        self.last_fault = Some(fault.reason());
        match retry::decide(&fault, &situation) {
            Decision::GiveUp => return Some(fault.reason()),
            Decision::Fresh => {
                shard.retries_fresh.increment();
                self.was_fresh = true;
                self.fresh = Some(endpoint);
            }
            Decision::Another if !self.may_be_repeated(Some(&fault)).await => return Some(fault.reason()),
            Decision::Another => self.go_elsewhere(endpoint),
        }
        None
    }

    fn go_elsewhere(&mut self, endpoint: Arc<Endpoint>) {
        let worker = self.client.worker.clone();
        worker.shard.retries_other.increment();
        self.tried.push(endpoint);
        worker.with_table(|table| self.plan.destination.renew(table));
    }

    /// Takes a repeat out of the service's budget. What put no work on an endpoint needs none.
    async fn may_be_repeated(&mut self, fault: Option<&AttemptFault>) -> bool {
        self.repeat = self.granted.take();
        if self.repeat.is_some() || fault.is_some_and(AttemptFault::is_without_work) {
            return true;
        }
        let (local, shard) = (self.plan.local.clone(), self.worker().shard.clone());
        let (ratio, workers) = (self.proxy().retry_ratio, self.worker().seat.workers);
        let deadline = Instant::now() + self.limits().per_try;
        self.repeat = local.repeat(ratio, workers, deadline.min(self.deadline())).await;
        if self.repeat.is_none() {
            shard.retries_denied.increment();
        }
        self.repeat.is_some()
    }

    /// The time for a connection, within that of all attempts.
    fn connect_time(&self) -> Duration {
        self.limits().connect.min(self.deadline().saturating_duration_since(Instant::now()))
    }

    /// When all attempts together have taken too long.
    fn deadline(&self) -> Instant {
        let started = self.account.started();
        let total = self.body.last_progress().map_or(started, |progress| progress.max(started)) + self.plan.total;
        // A call's own time goes on while its messages come.
        self.plan.call.map_or(total, |time| total.min(started + time))
    }

    fn set_aside(&mut self, begun: Begun, endpoint: Arc<Endpoint>) {
        let (in_flight, hold) = (self.account.in_flight.take(), self.account.hold.take());
        self.aside = Some(Box::new(Aside { begun, endpoint: endpoint.clone(), in_flight, hold }));
        self.go_elsewhere(endpoint);
    }

    /// No endpoint is left: the answer that was put aside, or one of our own.
    async fn give_up(mut self, reason: Reason) -> Response<AnswerBody> {
        let Some(aside) = self.aside.take() else { return self.refuse(reason).await };
        let Aside { begun, endpoint, in_flight, hold } = *aside;
        self.account.in_flight = in_flight;
        self.account.hold = hold;
        self.ask_for_replacement(&begun).await;
        self.pass_on(begun, &endpoint)
    }

    fn count(&self, fault: &AttemptFault) {
        let shard = &self.worker().shard;
        match fault {
            AttemptFault::ConnectTimeout => shard.timeout_connect.increment(),
            AttemptFault::SlowAttempt => shard.timeout_attempt.increment(),
            AttemptFault::SlowAnswer => shard.timeout_answer.increment(),
            AttemptFault::Drained => shard.drained_requests.increment(),
            AttemptFault::Body(BodyFault::Idle) => shard.timeout_body.increment(),
            _ => {}
        }
        let is_endpoints = fault.is_endpoints() && !self.is_hurried(fault);
        if let (true, Some(in_flight)) = (is_endpoints, &self.account.in_flight) {
            in_flight.failed();
        }
    }

    /// Whether the endpoint had less time than it usually has, because the client gave its call so little: else any client
    /// could have all endpoints of a service spared.
    fn is_hurried(&self, fault: &AttemptFault) -> bool {
        let usual = match fault {
            AttemptFault::SlowAnswer => self.limits().per_try.min(self.plan.total),
            AttemptFault::ConnectTimeout => self.limits().connect,
            _ => return false,
        };
        self.plan.call.is_some_and(|time| time < usual)
    }

    async fn refuse(mut self, reason: Reason) -> Response<AnswerBody> {
        self.account.attempted(self.attempts_made());
        let refusal = Refusal::from(reason);
        ask_for_page(&self.client, self.plan.dress.as_deref_mut(), &refusal, &self.account).await;
        let mut answer =
            local::answer(&self.client.worker, refusal, self.version, self.account, self.plan.dress.as_deref());
        finish(&self.client, &self.plan, answer.headers_mut());
        answer
    }

    /// Notes how long the endpoint took, and what it says of itself.
    fn measure(&self, begun: &Begun) {
        if let Some(in_flight) = &self.account.in_flight {
            // An upload's time is the client's, not the endpoint's.
            let since = self.body.last_progress().unwrap_or(self.attempt_begun);
            let outcome = outcome::of_head(begun.head.status, &begun.head.headers, SystemTime::now);
            in_flight.answered(outcome, since, Instant::now());
        }
        let (proxy, local, now) = (self.proxy(), &self.plan.local, Instant::now());
        if !begun.head.status.is_server_error() && self.body.is_empty() {
            if proxy.hedging.ratio > 0.0 && self.attempts == 1 {
                // A copy that won tells only how long the request itself took at least.
                local.hedging.borrow_mut().observe(now - self.account.started());
            }
            if proxy.adaptive.enabled {
                let latency = now - self.attempt_begun;
                local.gradient.borrow_mut().observe(latency, local.asking.get(), moment(now), &proxy.adaptive);
            }
        }
    }

    fn pass_on(mut self, begun: Begun, endpoint: &Endpoint) -> Response<AnswerBody> {
        let Begun { mut head, rest } = begun;
        let worker = self.client.worker.clone();
        self.account.answers(head.status);
        self.account.attempted(self.attempts_made());
        self.account.upload = self.body.fate();
        if self.version == Version::HTTP_2 {
            self.body.may_rest();
        }
        debug!(client = %self.client.peer, service = %self.plan.destination.service.id, status = head.status.as_u16(), "answered");
        let switched = (head.status == StatusCode::SWITCHING_PROTOCOLS).then(|| self.upgrade.take()).flatten();
        let protocol = switched.as_ref().and_then(|_| head.headers.get(UPGRADE).cloned());
        prepare_answer(&mut head, &worker, &self.plan.config.proxy.via);
        if self.proxy().proxy_status_relayed {
            local::tell_origin(&mut head.headers, &self.plan.config.proxy.via, endpoint, head.status);
        }
        self.keep(endpoint, &mut head);
        if let Some(rules) = &self.plan.rules
            && let Some(location) = rules::rewritten_location(rules, &head.headers, &self.plan.admitted.host())
        {
            head.headers.insert(LOCATION, location);
        }
        finish(&self.client, &self.plan, &mut head.headers);
        let page = if switched.is_none() { self.page_in_place(&mut head) } else { None };
        let compression = if switched.is_none() && page.is_none() { self.compression(&mut head) } else { None };
        let change = |body: AnswerBody, worker: &Worker| match (page, compression) {
            (Some(page), _) => body.replaced(page),
            (None, Some((encoder, place))) => body.compressed(encoder, place, worker),
            (None, None) => body,
        };
        let limits = &self.plan.config.proxy.limits;
        let (body, tunnel, carrier) = match rest {
            Rest::Incoming(body, carrier) => {
                canonical_length(&mut head.headers);
                (Flow::Incoming(body), None, carrier)
            }
            Rest::Stream(body, tunnel, stream) => {
                canonical_length(&mut head.headers);
                (Flow::Stream(body), tunnel, Carrier::Http2(stream))
            }
            Rest::Bare(answer) => {
                let relay = BareRelay::new(answer, endpoint.address, worker.clone(), self.account, limits);
                return Response::from_parts(head, change(AnswerBody::Bare(Box::new(relay)), &worker));
            }
        };
        let Some(upgrade) = switched else {
            let body = AnswerBody::relayed(body, carrier, worker.clone(), self.account, limits);
            return Response::from_parts(head, change(body, &worker));
        };
        self.switch(head, (upgrade, protocol), (body, tunnel), carrier)
    }

    /// Both sides go on as a tunnel: the client's is opened when it has the head.
    fn switch(
        self,
        mut head: response::Parts,
        (upgrade, protocol): (Upgrade, Option<HeaderValue>),
        (body, tunnel): (Flow, Option<Writer>),
        carrier: Carrier,
    ) -> Response<AnswerBody> {
        let worker = self.client.worker.clone();
        worker.shard.upgrades.increment();
        // RFC 9110 section 8.6: "MUST NOT" in a 1xx, nor in a 2xx to CONNECT. What follows is the tunnel's.
        head.headers.remove(CONTENT_LENGTH);
        if self.over_http2 {
            // RFC 8441 section 5: the stream is the tunnel, and everything else of the connection goes on.
            head.status = StatusCode::OK;
            head.headers.remove(SEC_WEBSOCKET_ACCEPT);
        } else {
            if let Some(protocol) = protocol.clone() {
                upgrade::write(&mut head.headers, protocol);
            }
            self.client.watch.switch();
        }
        let (client_side, slot) = match upgrade {
            Upgrade::Connection(upgrade) => (Side::Upgrade(upgrade), None),
            Upgrade::Stream => {
                let (slot, stream) = oneshot::channel();
                (Side::Stream(stream), Some(slot))
            }
        };
        let endpoint = match (body, tunnel) {
            (Flow::Stream(reader), Some(writer)) => Some(Side::Open(Duplex::new(reader, writer))),
            _ => head.extensions.remove::<OnUpgrade>().map(Side::Upgrade),
        };
        if let Some(endpoint) = endpoint {
            let is_websocket = protocol.as_ref().is_some_and(upgrade::is_websocket);
            let tunnel = Tunnel {
                client: client_side,
                endpoint,
                idle: self.limits().idle,
                // What is a stream of a connection goes with it.
                drain: if self.over_http2 { self.client.drain() } else { worker.drain.clone() },
                websocket: is_websocket.then(|| worker.rng.borrow_mut().u32(..).to_ne_bytes()),
            };
            let open = is_websocket.then(|| worker.websockets.clone());
            let account = self.account;
            worker.tasks.spawn_local(async move {
                tunnel.run(account).await;
                drop((carrier, open));
            });
        }
        Response::from_parts(head, AnswerBody::Switched(slot))
    }

    /// Whether a page stands in place of endpoints' answers with this status, where there is one.
    fn is_replaced(&self, status: StatusCode) -> bool {
        let filter = self.plan.filtered.errors.and_then(|position| self.proxy().filters.get(position));
        filter.is_some_and(|filter| filter.errors.replaces(status.as_u16()))
    }

    /// Has a service give the page in place of an endpoint's answer, where a filter says so. The answer waits, and is sent
    /// where no page comes.
    async fn ask_for_replacement(&mut self, begun: &Begun) {
        let status = begun.head.status;
        if !self.is_replaced(status) {
            return;
        }
        if let Some(dress) = self.plan.dress.as_deref_mut().filter(|dress| dress.asks()) {
            Box::pin(dress.ask(&self.client.worker, &self.plan.config, status)).await;
        }
    }

    /// The page in place of an endpoint's answer, if there is one; its head says so then.
    fn page_in_place(&self, head: &mut response::Parts) -> Option<Bytes> {
        if !self.is_replaced(head.status) {
            return None;
        }
        let page = self.plan.dress.as_ref()?.page(head.status)?;
        page.describe(&mut head.headers);
        Some(page.body)
    }

    /// How the answer is compressed, if it is; its head says so then, and no more than can be kept. What is asked for the
    /// head alone has no content.
    fn compression(&self, head: &mut response::Parts) -> Option<(Encoder, EncoderPlace)> {
        let (filter, wanted) = self.plan.filtered.compress?;
        let config = &self.proxy().filters.get(filter)?.compress;
        if !compress::is_eligible(config, head) {
            return None;
        }
        let begin =
            |coding| Some((coding, Encoder::new(coding).ok()?, EncoderPlace::take(&self.worker().compressing)?));
        let begun = wanted.and_then(begin);
        compress::mark(begun.as_ref().map(|(coding, _, _)| *coding), &mut head.headers);
        begun.filter(|_| self.method != Method::HEAD).map(|(_, encoder, place)| (encoder, place))
    }

    /// Keeps the client on an endpoint that wants it, unless its cookie names that one already.
    fn keep(&self, endpoint: &Endpoint, head: &mut response::Parts) {
        let destination = &self.plan.destination;
        if !endpoint.sticky {
            return;
        }
        let session = sticky::Session::of(endpoint);
        if destination.session != Some(session) {
            sticky::write(&mut head.headers, &destination.service.id, session, self.client.secured.is_some());
        }
    }
}

/// What the service's rules and the route change of every answer, whoever gives it.
fn finish(client: &Client, plan: &Plan, headers: &mut HeaderMap) {
    // RFC 6797 section 7.2: in clear text the field must not be sent.
    if client.secured.is_some() && plan.rules.as_ref().is_some_and(|rules| rules.hsts) {
        headers.insert(STRICT_TRANSPORT_SECURITY, rules::HSTS);
    }
    if plan.filtered.security_headers {
        filters::named::secure(headers);
    }
    if let Some(cors) = &plan.filtered.cors {
        cors.write(headers);
    }
    if let Some(actions) = plan.actions() {
        filters::fields::change(headers, &actions.answer);
    }
}

/// What is known of the client's side.
fn hop<'a>(client: &'a Client, plan: &'a Plan, headers: &HeaderMap) -> Hop<'a> {
    let (peer, trusted) = (client.peer.ip(), &plan.config.proxy.trusted_proxies);
    Hop {
        peer,
        peer_text: &client.address_text,
        trusted: is_trusted(peer, trusted),
        client: client_address(peer, headers, trusted),
        secure: client.secured.is_some(),
        authority: plan.admitted.authority(),
        port: client.local.port(),
        certificate: client.secured.as_ref().and_then(|secured| secured.client_certificate.as_ref()),
    }
}

/// Makes a request's head ready for the next hop; returns the client's address.
fn prepare(client: &Client, plan: &Plan, head: &mut Parts, note: Option<&Note>) -> IpAddr {
    let proxy = &plan.config.proxy;
    let hop = hop(client, plan, &head.headers);
    headers::prepare_request(&mut head.headers, head.version, &proxy.via, proxy.underscores);
    canonical_length(&mut head.headers);
    if head.method == Method::OPTIONS {
        headers::pass_forward(&mut head.headers);
    }
    let address = hop.client;
    forwarded::write(&mut head.headers, &hop);
    if let Some(note) = note {
        note.write(&mut head.headers);
    }
    if !plan.destination.service.sticky.is_empty() {
        sticky::strip(&mut head.headers);
    }
    head.headers.insert(HOST, plan.host.clone());
    if let Some(actions) = plan.actions() {
        filters::fields::change(&mut head.headers, &actions.request);
    }
    // RFC 9110 section 10.1.4: `TE` is of one hop, and says so.
    if head.headers.contains_key(TE) && !plan.destination.service.protocol.is_http2() {
        head.headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if let Some(protocol) = &plan.upgrade {
        upgrade::write(&mut head.headers, protocol.clone());
    }
    address
}

fn prepare_answer(head: &mut response::Parts, worker: &Worker, via: &str) {
    headers::prepare_answer(&mut head.headers, head.version, via);
    head.version = Version::HTTP_11;
    // RFC 9110 section 8.6: no length where there can be no content.
    if head.status == StatusCode::NO_CONTENT {
        head.headers.remove(CONTENT_LENGTH);
    }
    // RFC 9110 section 6.6.1: a recipient with a clock adds what is missing.
    if !head.headers.contains_key(DATE) {
        head.headers.insert(DATE, worker.date());
    }
}

/// What the HTTP implementation lets pass although it has two meanings.
pub(super) fn check_answer(answer: &response::Parts, upgrades: bool) -> Result<(), AttemptFault> {
    let headers = &answer.headers;
    let codings = headers.get_all(TRANSFER_ENCODING);
    let is_coded = headers.contains_key(TRANSFER_ENCODING);
    // RFC 9112 section 6.3: two lengths, or a coding that is not understood.
    let ambiguous = is_coded
        && (headers.contains_key(CONTENT_LENGTH)
            || !codings.iter().all(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
            || codings.iter().nth(1).is_some());
    // RFC 9110 section 15.2.2: nobody asked for another protocol.
    let switches = answer.status == StatusCode::SWITCHING_PROTOCOLS && !upgrades;
    match ambiguous || switches {
        true => Err(AttemptFault::Invalid),
        false => Ok(()),
    }
}
