//! A bus for tests: the real server, with a clock that the test moves. A test of a delay of 30 minutes takes milliseconds.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use duebus::testing::Bus;
//! # use duebus::{Event, Worker, WorkerOptions};
//! # async fn test() -> Result<(), duebus::Error> {
//! let bus = Bus::start().await?;
//! let worker = Worker::new(bus.client()).handle("order.check", WorkerOptions::default(), async |_| Ok(()));
//! let running = bus.run(worker).await?;
//!
//! bus.client().dispatch("order.check", Event::new("42").after(Duration::from_secs(1800))).await?;
//! bus.advance(Duration::from_secs(1800)).await?;
//! bus.settle().await?; // now it is handled
//! running.stop().await
//! # }
//! ```
//!
//! The server is the command `duebus`, which `pip install 'duebus[server]'` brings, in memory and on a free local port. The
//! command is looked up in `PATH`, unless the environment variable `DUEBUS_COMMAND` has its path. It needs a POSIX shell.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::proto::advance_time_request::Target;
use crate::proto::test_clock_client::TestClockClient;
use crate::proto::{AdvanceTimeRequest, SettleRequest};
use crate::settle::to_proto;
use crate::worker::panic_text;
use crate::{Client, ClientOptions, Connection, Error, Reason, Worker};

const COMMAND: &str = "DUEBUS_COMMAND";
/// Runs a command until its standard input ends: when the test has ended, however that was. A signal to the whole process
/// group, such as that of Ctrl-C, must not end the shell first.
const SHELL: &str =
    r#"trap "" HUP INT QUIT TERM; "$@" </dev/null & exec >&- 2>&-; read -r _; kill -KILL "$!"; wait "$!""#;
/// How long the server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a worker may take to subscribe.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a worker that has nothing to settle may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// A server with a clock that a test moves. In between, the clock runs on. One that [`Bus::start`] has started ends when this
/// is dropped, and its events with it.
#[derive(Debug)]
pub struct Bus {
    address: String,
    client: Client,
    clock: TestClockClient<Connection>,
    settle_timeout: Duration,
    panics: Panics,
    log: Log,
    _server: Option<Child>,
}

/// What the server has logged, once it has ended. That of a server that something else runs is never known to have.
type Log = Shared<BoxFuture<'static, String>>;

/// A worker that [`Bus::run`] runs. It is stopped when this is dropped.
#[derive(Debug)]
pub struct Running {
    stop: DropGuard,
    ended: JoinHandle<Result<(), Error>>,
    panics: Panics,
    log: Log,
}

/// What a handler has panicked with since the last look. A failed assertion is a panic.
#[derive(Debug, Clone, Default)]
struct Panics(Arc<Mutex<Option<String>>>);

impl Panics {
    /// A worker whose panics are noted here.
    fn watch(&self, mut worker: Worker) -> Worker {
        let panics = self.clone();
        worker.interceptors.add_outermost(move |delivery, next| {
            let (panics, event) = (panics.clone(), format!("{}/{}", delivery.topic, delivery.event_id));
            AssertUnwindSafe(next.run(delivery)).catch_unwind().map(move |ended| {
                ended.unwrap_or_else(|panic| {
                    panics.note(format!("the handler of {event} panicked: {}", panic_text(panic.as_ref())));
                    resume_unwind(panic)
                })
            })
        });
        worker
    }

    fn note(&self, panic: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
    }

    fn check(&self) -> Result<(), Error> {
        let panic = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        panic.map_or(Ok(()), |panic| Err(Error::new(Reason::Internal, panic)))
    }
}

impl Bus {
    /// Starts a server, which begins without events.
    ///
    /// # Errors
    /// [`Reason::Unavailable`] when the command `duebus` is missing or the server does not start; it says why.
    pub async fn start() -> Result<Self, Error> {
        let (server, address, log) = serve(&command()?).await?;
        Ok(Self { log, _server: Some(server), ..Self::connect(address)? })
    }

    /// Connects to a server that something else runs, for example in a container: `duebus serve --test-clock`. It goes on when
    /// this bus is dropped.
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`] when the address is not `host:port`.
    pub fn connect(address: impl Into<String>) -> Result<Self, Error> {
        let address = address.into();
        let client = Client::new(&address, ClientOptions::default())?;
        let clock = TestClockClient::new(client.connection());
        let (settle_timeout, panics) = (Duration::from_secs(5), Panics::default());
        let log = std::future::pending().boxed().shared();
        Ok(Self { address, client, clock, settle_timeout, panics, log, _server: None })
    }

    /// Sets how long [`Bus::settle`] and [`Bus::advance`] wait, in real time. The default is 5 s.
    #[must_use]
    pub fn settle_timeout(self, timeout: Duration) -> Self {
        Self { settle_timeout: timeout, ..self }
    }

    /// Where it listens, `host:port`, for clients and workers.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A client that is connected to it.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The time of its clock.
    ///
    /// # Errors
    /// [`Reason::Unavailable`] when the server has ended.
    pub async fn now(&self) -> Result<SystemTime, Error> {
        self.move_by(Duration::ZERO).await
    }

    /// Moves its clock forward. Events become due and leases run out as if the time had passed. A schedule fires at each of
    /// its times on the way; what it has fired is handled, as by [`Bus::settle`], before the clock is moved further.
    ///
    /// `settle` waits until the due events are handled. If handlers may still be running, call it first too, or their
    /// leases may run out.
    ///
    /// # Errors
    /// [`Reason::DeadlineExceeded`] when what a schedule has fired is not settled in time; it names it.
    /// [`Reason::InvalidArgument`] when the clock would move more than 10 years. [`Reason::Internal`] as in `settle`.
    pub async fn advance(&self, by: Duration) -> Result<(), Error> {
        self.move_by(by).await.map(drop)
    }

    async fn move_by(&self, by: Duration) -> Result<SystemTime, Error> {
        let settle_timeout = Some(to_proto(self.settle_timeout));
        let request = AdvanceTimeRequest { target: Some(Target::By(to_proto(by))), settle_timeout };
        let answer = self.clock.clone().advance_time(request).await?.into_inner();
        self.check(&answer.unsettled)?;
        Ok(answer.now.and_then(|now| now.try_into().ok()).unwrap_or(SystemTime::UNIX_EPOCH))
    }

    /// Waits until no event is due or leased in any group that has a subscriber. An event that failed and waits for its
    /// retry is not waited for: move the clock to its due time.
    ///
    /// # Errors
    /// [`Reason::DeadlineExceeded`] when that takes longer than 5 real seconds; it names what is not settled.
    /// [`Reason::Internal`] when a handler of a worker of [`Bus::run`] has panicked, for example because an assertion has
    /// failed; it names the event and the reason. Each panic is reported once.
    pub async fn settle(&self) -> Result<(), Error> {
        let request = SettleRequest { timeout: Some(to_proto(self.settle_timeout)) };
        self.check(&self.clock.clone().settle(request).await?.into_inner().unsettled)
    }

    fn check(&self, unsettled: &[String]) -> Result<(), Error> {
        self.panics.check()?;
        if unsettled.is_empty() {
            return Ok(());
        }
        let message = format!("after {:?} these are not settled: {}", self.settle_timeout, unsettled.join(", "));
        Err(Error::new(Reason::DeadlineExceeded, message))
    }

    /// Runs a worker of [`Bus::client`], or of another client of [`Bus::address`], in the background. It is subscribed to
    /// all its topics when this returns.
    ///
    /// # Errors
    /// Those of [`Worker::run`], and [`Reason::Unavailable`] when the worker is not subscribed within 10 s.
    pub async fn run(&self, worker: Worker) -> Result<Running, Error> {
        let ready = worker.ready();
        let stop = CancellationToken::new();
        let ended = tokio::spawn(self.panics.watch(worker).run(stop.clone().cancelled_owned()));
        let running = Running { stop: stop.drop_guard(), ended, panics: self.panics.clone(), log: self.log.clone() };
        match timeout(READY_TIMEOUT, ready).await {
            Ok(true) => Ok(running),
            Ok(false) => Err(running.stop().await.err().unwrap_or_else(|| not_subscribed(&self.address))),
            Err(_) => Err(not_subscribed(&self.address)),
        }
    }
}

impl Running {
    /// Drains the worker.
    ///
    /// # Errors
    /// Those of [`Worker::run`], [`Reason::Internal`] as in [`Bus::settle`], and [`Reason::Unavailable`] when the server
    /// of [`Bus::start`] has ended, so that the worker can't settle its events any more; its handlers are cancelled.
    pub async fn stop(mut self) -> Result<(), Error> {
        drop(self.stop);
        let without_server = async {
            let log = self.log.await;
            tokio::time::sleep(STOP_TIMEOUT).await;
            log
        };
        let ended = tokio::select! {
            ended = &mut self.ended => ended,
            log = without_server => {
                self.ended.abort();
                let message = format!("the server has ended before all was settled\n{log}");
                return Err(Error::new(Reason::Unavailable, message));
            }
        };
        ended.unwrap_or_else(|error| Err(Error::new(Reason::Internal, error.to_string())))?;
        self.panics.check()
    }
}

fn not_subscribed(address: &str) -> Error {
    let message = format!("after {READY_TIMEOUT:?} the worker is not subscribed; is it connected to {address}?");
    Error::new(Reason::Unavailable, message)
}

/// The path of the command `duebus`.
fn command() -> Result<PathBuf, Error> {
    let named = std::env::var_os(COMMAND).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = named.map_or_else(
        || std::env::split_paths(&path).map(|folder| folder.join("duebus")).collect(),
        |named| vec![named],
    );
    candidates.retain(|each| each.is_file());
    candidates.into_iter().next().ok_or_else(|| {
        let message = "the command duebus is missing: pip install 'duebus[server]', or set DUEBUS_COMMAND to its path";
        Error::new(Reason::Unavailable, message)
    })
}

/// Starts a server, and returns the shell that holds it, its address and its log.
async fn serve(command: &Path) -> Result<(Child, String, Log), Error> {
    let failed = |error: String| Error::new(Reason::Unavailable, format!("{} serve: {error}", command.display()));
    let mut shell = Command::new("sh");
    shell.args(["-c", SHELL, "sh"]).arg(command);
    shell.args(["serve", "--test-clock", "--engine", "local", "--listen", "127.0.0.1:0"]);
    // The defaults, regardless of the test's environment.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"DUEBUS_")) {
        shell.env_remove(name);
    }
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut shell = shell.spawn().map_err(|error| failed(error.to_string()))?;
    let mut out = String::new();
    let (stdout, stderr) = (shell.stdout.take(), shell.stderr.take());
    let reading = tokio::spawn(async move {
        let mut log = String::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr.read_to_string(&mut log).await;
        }
        log
    });
    let log = reading.map(Result::unwrap_or_default).boxed().shared();
    if let Some(stdout) = stdout {
        let _ = timeout(START_TIMEOUT, BufReader::new(stdout).read_line(&mut out)).await;
    }
    match out.strip_prefix("duebus ready on ").and_then(|rest| rest.split_whitespace().next()) {
        Some(address) => Ok((shell, address.to_owned(), log)),
        None => {
            drop(shell); // ends the server, and its log with it
            Err(failed(format!("the server has not started\n{}", log.await)))
        }
    }
}
