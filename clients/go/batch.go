package duebus

import (
	"iter"
	"math"
)

const (
	// maxLeases is the most that the server accepts in one Ack, Nack or Extend.
	maxLeases = 10_000
	// maxRequestBytes is the largest request until a server has announced its limit: gRPC's default.
	maxRequestBytes = 4 << 20
	// In a request of lease tokens or nacks, the bytes of its other fields, and those of an item besides its text.
	otherFields = 4 << 10
	itemFields  = 32
)

// limitRequests notes the largest request that the server accepts; 0 if it does not say.
func (c *Client) limitRequests(bytes uint64) {
	if bytes > 0 {
		c.requestBytes.Store(int64(min(bytes, math.MaxInt32)))
	}
}

// fitting returns how many of the first items fit into one request: at least one.
func fitting[T any](c *Client, items []T, size func(T) int) int {
	left := int(c.requestBytes.Load()) - otherFields
	for i, item := range items {
		if left -= size(item) + itemFields; left < 0 {
			return max(i, 1)
		}
	}
	return len(items)
}

// batches splits items into parts that fit into one request each.
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
