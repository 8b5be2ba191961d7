package duebus

import (
	"iter"
	"math"
)

const (
	// maxLeases is the most that the server takes in one Ack, Nack or Extend.
	maxLeases = 10_000
	// maxRequestBytes is how large a request may be until a server has said how much it takes: gRPC's own default.
	maxRequestBytes = 4 << 20
	// Of a request of lease tokens or nacks, in bytes: its other fields, and what an item has besides its text.
	otherFields = 4 << 10
	itemFields  = 32
)

// limitRequests notes how large a request the server takes; 0: it does not say.
func (c *Client) limitRequests(bytes uint64) {
	if bytes > 0 {
		c.requestBytes.Store(int64(min(bytes, math.MaxInt32)))
	}
}

// fitting counts the items, from the first on, that fit into one request: at least one of them.
func fitting[T any](c *Client, items []T, size func(T) int) int {
	left := int(c.requestBytes.Load()) - otherFields
	for i, item := range items {
		if left -= size(item) + itemFields; left < 0 {
			return max(i, 1)
		}
	}
	return len(items)
}

// batches cuts items into parts that fit into one request each.
func batches[T any](c *Client, items []T, size func(T) int) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		for len(items) > 0 {
			count := fitting(c, items[:min(len(items), maxLeases)], size)
			if !yield(items[:count]) {
				return
			}
			items = items[count:]
		}
	}
}

func tokenSize(token string) int { return len(token) }
