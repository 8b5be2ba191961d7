use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Code, Request, Response, Status};
use tonic_types::pb;

use crate::proto::event_bus_server::{EventBus, EventBusServer};
use crate::proto::subscribe_response::Frame;
use crate::proto::*;
use crate::settle::to_proto;
use crate::{Client, ClientOptions};

/// The timeout of each wait for something that must come.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

type Frames = UnboundedSender<Result<SubscribeResponse, Status>>;

/// The requests to the fake bus, in order of arrival.
pub struct FakeBus {
    pub address: SocketAddr,
    pub answers: Arc<Answers>,
    pub dispatches: UnboundedReceiver<Request<DispatchRequest>>,
    pub acks: UnboundedReceiver<AckRequest>,
    pub nacks: UnboundedReceiver<NackRequest>,
    pub extends: UnboundedReceiver<ExtendRequest>,
    pub streams: UnboundedReceiver<FakeStream>,
}

/// The next answers of the fake bus; after them, every call succeeds.
#[derive(Default)]
pub struct Answers {
    /// What the first dispatch waits for.
    pub hold: Mutex<Option<oneshot::Receiver<()>>>,
    pub dispatch: Mutex<VecDeque<Result<DispatchResponse, Status>>>,
    pub ack: Mutex<VecDeque<Result<AckResponse, Status>>>,
    pub nack: Mutex<VecDeque<Result<NackResponse, Status>>>,
    pub extend: Mutex<VecDeque<Result<ExtendResponse, Status>>>,
    pub subscribe: Mutex<VecDeque<Status>>,
    /// Streams of this topic get this status once the test says so.
    pub refused: Mutex<Option<(&'static str, oneshot::Receiver<Status>)>>,
    /// The lease that a started stream names.
    pub lease: Mutex<Option<Duration>>,
    /// The largest request that a started stream announces.
    pub max_request_bytes: Mutex<u64>,
    /// Whether a started stream says that its group has limits.
    pub limited: Mutex<bool>,
}

/// An open stream of a worker. Dropping it ends the stream.
pub struct FakeStream {
    pub request: SubscribeRequest,
    pub frames: Frames,
}

impl FakeStream {
    pub fn send(&self, frame: Frame) {
        self.frames.send(Ok(SubscribeResponse { frame: Some(frame) })).expect("the worker has left");
    }

    pub fn deliver(&self, ids: &[&str]) {
        self.deliver_until(SystemTime::now() + Duration::from_secs(30), ids);
    }

    /// Delivers events whose leases run out at the given time, by the engine's clock.
    pub fn deliver_until(&self, expires: SystemTime, ids: &[&str]) {
        let deliveries = ids.iter().map(|id| Delivery {
            event: Some(Event {
                id: (*id).to_owned(),
                data: b"{\"id\":42}".to_vec(),
                key: format!("key-{id}"),
                ..Event::default()
            }),
            lease_token: format!("lease-{id}"),
            attempt: 1,
            lease_expires_at: Some(expires.into()),
            ..Delivery::default()
        });
        self.send(Frame::Deliveries(Deliveries { deliveries: deliveries.collect() }));
    }
}

struct Service {
    answers: Arc<Answers>,
    dispatches: UnboundedSender<Request<DispatchRequest>>,
    acks: UnboundedSender<AckRequest>,
    nacks: UnboundedSender<NackRequest>,
    extends: UnboundedSender<ExtendRequest>,
    streams: UnboundedSender<FakeStream>,
}

impl FakeBus {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Arc::new(Answers::default());
        let (dispatches_in, dispatches) = mpsc::unbounded_channel();
        let (acks_in, acks) = mpsc::unbounded_channel();
        let (nacks_in, nacks) = mpsc::unbounded_channel();
        let (extends_in, extends) = mpsc::unbounded_channel();
        let (streams_in, streams) = mpsc::unbounded_channel();
        let service = Service {
            answers: Arc::clone(&answers),
            dispatches: dispatches_in,
            acks: acks_in,
            nacks: nacks_in,
            extends: extends_in,
            streams: streams_in,
        };
        let server = tonic::transport::Server::builder().add_service(EventBusServer::new(service));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { address, answers, dispatches, acks, nacks, extends, streams }
    }

    pub fn client(&self, options: ClientOptions) -> Client {
        Client::new(&self.address.to_string(), options).unwrap()
    }
}

/// Waits for something that must come.
pub async fn next<T>(from: &mut UnboundedReceiver<T>) -> T {
    timeout(WAIT_TIMEOUT, from.recv()).await.expect("nothing came").expect("the other side is gone")
}

/// Waits for something that must end.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(WAIT_TIMEOUT, what).await.expect("it did not end")
}

/// A status with the details that the server attaches.
pub fn refusal(code: Code, reason: &str, more: Vec<prost_types::Any>) -> Status {
    let info = pb::ErrorInfo {
        reason: reason.to_owned(),
        domain: "duebus".to_owned(),
        metadata: HashMap::from([("topic".to_owned(), "t".to_owned())]),
    };
    let mut details = vec![detail("google.rpc.ErrorInfo", &info)];
    details.extend(more);
    let status = pb::Status { code: code as i32, message: "no".to_owned(), details };
    Status::with_details(code, "no", status.encode_to_vec().into())
}

pub fn detail(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

#[tonic::async_trait]
impl EventBus for Service {
    type SubscribeStream = UnboundedReceiverStream<Result<SubscribeResponse, Status>>;

    async fn dispatch(&self, request: Request<DispatchRequest>) -> Result<Response<DispatchResponse>, Status> {
        let ids = request.get_ref().events.iter().map(|each| each.id.clone()).collect();
        let held = self.answers.hold.lock().unwrap().take(); // before the test knows of it, and sends the next
        self.dispatches.send(request).unwrap();
        if let Some(release) = held {
            let _ = release.await;
        }
        let well = DispatchResponse { event_ids: ids, duplicate_event_ids: Vec::new() };
        self.answers.dispatch.lock().unwrap().pop_front().unwrap_or(Ok(well)).map(Response::new)
    }

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let refused = self.answers.refused.lock().unwrap().take_if(|(topic, _)| *topic == request.get_ref().topic);
        if let Some((_, status)) = refused {
            return Err(status.await.map_err(|_| Status::cancelled("the test is over"))?);
        }
        if let Some(status) = self.answers.subscribe.lock().unwrap().pop_front() {
            return Err(status);
        }
        let (frames, stream) = mpsc::unbounded_channel();
        let opened = FakeStream { request: request.into_inner(), frames };
        let lease = self.answers.lease.lock().unwrap().unwrap_or(Duration::from_secs(30));
        let max_request_bytes = *self.answers.max_request_bytes.lock().unwrap();
        let limited = *self.answers.limited.lock().unwrap();
        let lease = Some(to_proto(lease));
        opened.send(Frame::Started(Started { lease, max_request_bytes, limited, ..Started::default() }));
        self.streams.send(opened).map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(UnboundedReceiverStream::new(stream)))
    }

    async fn ack(&self, request: Request<AckRequest>) -> Result<Response<AckResponse>, Status> {
        let _ = self.acks.send(request.into_inner());
        self.answers.ack.lock().unwrap().pop_front().unwrap_or(Ok(AckResponse::default())).map(Response::new)
    }

    async fn nack(&self, request: Request<NackRequest>) -> Result<Response<NackResponse>, Status> {
        let _ = self.nacks.send(request.into_inner());
        self.answers.nack.lock().unwrap().pop_front().unwrap_or(Ok(NackResponse::default())).map(Response::new)
    }

    async fn extend(&self, request: Request<ExtendRequest>) -> Result<Response<ExtendResponse>, Status> {
        let _ = self.extends.send(request.into_inner());
        self.answers.extend.lock().unwrap().pop_front().unwrap_or(Ok(ExtendResponse::default())).map(Response::new)
    }

    async fn stop(&self, _: Request<StopRequest>) -> Result<Response<StopResponse>, Status> {
        Ok(Response::new(StopResponse::default()))
    }
}
