package duebus

import (
	"sync"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/roundrobin"

	"github.com/duebus/duebus/clients/go/duebusv1"
)

// turnsName is the load balancing of clients: round robin over the servers that are connected, in which a stream goes to
// another server than the stream before it. Otherwise the calls between two streams would decide where the second goes:
// one ack between each would send all streams to the same of two servers.
const turnsName = "duebus_round_robin"

func init() { balancer.Register(turnsBuilder{}) }

type turnsBuilder struct{}

func (turnsBuilder) Name() string { return turnsName }

func (turnsBuilder) Build(conn balancer.ClientConn, options balancer.BuildOptions) balancer.Balancer {
	return balancer.Get(roundrobin.Name).Build(&turnsConn{ClientConn: conn, last: &lastStream{}}, options)
}

// turnsConn replaces the pickers that the round robin reports.
type turnsConn struct {
	balancer.ClientConn
	last *lastStream
}

func (c *turnsConn) UpdateState(state balancer.State) {
	state.Picker = turnsPicker{state.Picker, c.last}
	c.ClientConn.UpdateState(state)
}

// lastStream is where the last stream went.
type lastStream struct {
	mu sync.Mutex
	on balancer.SubConn
}

type turnsPicker struct {
	balancer.Picker
	last *lastStream
}

func (p turnsPicker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	picked, err := p.Picker.Pick(info)
	if err != nil || info.FullMethodName != duebusv1.EventBus_Subscribe_FullMethodName {
		return picked, err
	}
	p.last.mu.Lock()
	defer p.last.mu.Unlock()
	if picked.SubConn == p.last.on {
		// The next in turn is another one, unless there is only one.
		if picked, err = p.Picker.Pick(info); err != nil {
			return picked, err
		}
	}
	p.last.on = picked.SubConn
	return picked, nil
}
