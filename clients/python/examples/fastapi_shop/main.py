"""A shop in one process: FastAPI, SQLAlchemy with an outbox and an inbox, and a worker.

uvicorn main:app
"""

import logging
import os
from typing import Annotated, Any

from duebus import Client, Delivery, Worker, aio
from duebus.integrations.sqlalchemy import Inbox, Outbox
from duebus.integrations.starlette import DueBus
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

logging.basicConfig(level=logging.INFO)
SERVER = os.environ.get("DUEBUS_SERVER", "127.0.0.1:50051")


class Base(DeclarativeBase):
    """The tables."""


class Order(Base):
    """An order of a customer."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]
    receipts: Mapped[int] = mapped_column(default=0)


class NewOrder(BaseModel):
    """The body of a request."""

    item: str


outbox = Outbox(Base.metadata)
Inbox(Base.metadata)
engine = create_engine(os.environ.get("SHOP_DATABASE", "sqlite:///shop.sqlite3"))
Base.metadata.create_all(engine)
sessions = sessionmaker(engine)
worker = Worker(group="receipts")
bus = DueBus(SERVER, worker=worker, relay=outbox.relay(engine, Client(SERVER)))
app = FastAPI(lifespan=bus.lifespan)


@app.get("/orders")
def list_orders() -> list[dict[str, Any]]:
    """All orders."""
    with sessions() as session:
        return [
            {"id": each.id, "item": each.item, "receipts": each.receipts} for each in session.scalars(select(Order))
        ]


@app.post("/orders", status_code=201)
def place(new: NewOrder) -> dict[str, int]:
    """Place an order: it and its event are committed, or neither."""
    with sessions.begin() as session:
        order = Order(item=new.item)
        session.add(order)
        session.flush()
        outbox.dispatch(session, "order.received", {"id": order.id}, key=f"order-{order.id}")
        return {"id": order.id}


@app.post("/hints", status_code=202)
async def hint(client: Annotated[aio.Client, Depends(bus)]) -> dict[str, str]:
    """Dispatch an event that belongs to no transaction."""
    return {"event": (await client.dispatch("hint.asked", {})).event_id}


@worker.on("order.received", once=sessions)
def send_receipt(delivery: Delivery, session: Session) -> None:
    """Count the receipt of an order, exactly once."""
    order = session.get_one(Order, delivery.json()["id"])
    order.receipts += 1
