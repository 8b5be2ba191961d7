package duebus

import (
	"context"
	"encoding/json"
	"fmt"
)

// Handle registers a handler for a topic whose payloads are JSON of a T, before Run:
//
//	duebus.Handle(worker, "order.created", func(ctx context.Context, order Order, d *duebus.Delivery) error {
//		return bill(ctx, order)
//	})
//
// An event whose payload can't be decoded into a T becomes a dead letter with the reason, because no retry can help;
// the handler is not called. Fields that T does not have are ignored. If *T implements json.Unmarshaler, that decodes
// the payload, and may refuse it. Everything else is as with Worker.Handle.
func Handle[T any](
	worker *Worker, topic string, handler func(ctx context.Context, payload T, delivery *Delivery) error,
	options ...WorkerOption,
) {
	if handler == nil {
		worker.Handle(topic, nil, options...)
		return
	}
	worker.Handle(topic, func(ctx context.Context, delivery *Delivery) error {
		var payload T
		if err := json.Unmarshal(delivery.Data, &payload); err != nil {
			return DeadLetter(fmt.Errorf("the payload does not fit %T: %w", payload, err))
		}
		return handler(ctx, payload, delivery)
	}, options...)
}
