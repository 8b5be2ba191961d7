package duebus

// WaitingDispatches counts the dispatches that wait behind a call.
func (c *Client) WaitingDispatches() int {
	c.dispatcher.mu.Lock()
	defer c.dispatcher.mu.Unlock()
	count := 0
	for _, lane := range c.dispatcher.lanes {
		count += len(lane.waiting)
	}
	return count
}

// DispatchLanes counts the kinds of dispatches that have a running call.
func (c *Client) DispatchLanes() int {
	c.dispatcher.mu.Lock()
	defer c.dispatcher.mu.Unlock()
	return len(c.dispatcher.lanes)
}
