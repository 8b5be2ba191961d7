"""Which replicas are alive, and the state of the Redis that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.redis_bus import RedisBus, Replica
    from support.redis_server import RedisServer


async def test_every_replica_sees_the_others_until_they_stop(bus: RedisBus, replica: Replica) -> None:
    other = await bus.replica()
    other.engine.fair_share(7)
    await other.engine._engine._presence._beat()

    this, that = (await replica.engine.describe()).replicas

    assert ((this.name, this.is_this), (that.name, that.is_this)) == ((replica.name, True), (other.name, False))
    assert (this.streams, that.streams) == (0, 7)
    assert this.since_us is not None
    assert that.since_us is not None
    assert this.since_us < that.since_us

    other.engine.fair_share(None)
    await other.engine._engine._presence._beat()
    assert (await replica.engine.describe()).replicas[1].streams is None

    await other.engine.stop()
    assert len((await replica.engine.describe()).replicas) == 1
    assert len(bus.raw.hgetall(f"{bus.namespace}:{{{bus.namespace}:layout}}:about")) == 1


async def test_a_heartbeat_does_not_change_since_when_a_replica_is_alive(replica: Replica) -> None:
    before = (await replica.engine.describe()).replicas
    await replica.engine._engine._presence._beat()
    assert (await replica.engine.describe()).replicas == before


async def test_a_replica_of_a_build_that_tells_nothing_is_shown(bus: RedisBus, replica: Replica) -> None:
    bus.raw.delete(f"{bus.namespace}:{{{bus.namespace}:layout}}:about")
    (this,) = (await replica.engine.describe()).replicas
    assert (this.name, this.place, this.version, this.since_us) == (replica.name, "", "", None)


async def test_each_node_of_a_cluster_is_shown(cluster_bus: RedisBus, cluster: list[RedisServer]) -> None:
    replica = await cluster_bus.replica()
    servers = (await replica.engine.describe()).redis
    assert {server.address.rpartition(":")[2] for server in servers} == {str(node.port) for node in cluster}
    assert {server.role for server in servers} == {"master"}
