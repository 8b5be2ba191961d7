// Package duebuscontainer runs the image of DueBus for tests with Testcontainers, in memory, with a clock that the test
// moves. It needs a Docker engine.
//
//	container, err := duebuscontainer.Run(t.Context(), image)
//	testcontainers.CleanupContainer(t, container)
//	if err != nil {
//		t.Fatal(err)
//	}
//	bus := duebustest.Connect(t, container.Address)
package duebuscontainer

import (
	"context"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"
)

const port = "50051/tcp"

// Container is a container that serves.
type Container struct {
	testcontainers.Container
	// Address is where it listens, HOST:PORT, for clients and workers.
	Address string
}

// Run starts a container of an image of DueBus, and returns when it serves. If it fails, the container is returned with the
// error if it has been created, to be cleaned up.
func Run(ctx context.Context, image string, options ...testcontainers.ContainerCustomizer) (*Container, error) {
	options = append([]testcontainers.ContainerCustomizer{
		testcontainers.WithCmd("serve", "--test-clock"),
		testcontainers.WithExposedPorts(port),
		testcontainers.WithWaitStrategy(wait.ForLog("duebus ready on ")),
	}, options...)
	created, err := testcontainers.Run(ctx, image, options...)
	if created == nil {
		return nil, err
	}
	container := &Container{Container: created}
	if err != nil {
		return container, err
	}
	container.Address, err = created.PortEndpoint(ctx, port, "")
	return container, err
}
