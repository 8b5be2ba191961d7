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
	"fmt"
	"io"
	"time"

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

// Run starts a container of an image of DueBus, and returns when it serves. If it fails, the error has what the container
// printed, and the container is returned with it if it has been created, to be cleaned up.
func Run(ctx context.Context, image string, options ...testcontainers.ContainerCustomizer) (container *Container, err error) {
	defer func() {
		if reason := recover(); reason != nil { // what testcontainers does where there is no Docker engine
			err = fmt.Errorf("%v: is a Docker engine running?", reason)
		}
	}()
	options = append([]testcontainers.ContainerCustomizer{
		testcontainers.WithCmd("serve", "--test-clock"),
		testcontainers.WithExposedPorts(port),
		testcontainers.WithWaitStrategy(wait.ForLog("duebus ready on ")),
	}, options...)
	created, err := testcontainers.Run(ctx, image, options...)
	if created == nil {
		return nil, err
	}
	container = &Container{Container: created}
	if err != nil {
		return container, fmt.Errorf("%w\n%s", err, printed(ctx, created))
	}
	container.Address, err = created.PortEndpoint(ctx, port, "")
	return container, err
}

// printed returns what a container has printed, even if the time of ctx is up.
func printed(ctx context.Context, container testcontainers.Container) []byte {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	logs, err := container.Logs(ctx)
	if err != nil {
		return nil
	}
	defer logs.Close()
	text, _ := io.ReadAll(logs)
	return text
}
