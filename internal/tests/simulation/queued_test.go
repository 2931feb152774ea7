package simulation

import (
	"context"
	"fmt"

	"lsmdb/db"
)

// catchUp waits until all that was queued can be seen, as reads do by themselves. But they
// would come back in the middle of a step of the Writer, and what they look at then would be
// left to chance. It reports false where nobody may read now: the database has failed, or
// others queue all the time.
func (c *simulatedClient) catchUp() bool {
	w := c.w
	for range 4 {
		n := w.queued
		if w.caughtUp == n {
			return true
		}
		err := w.db.Apply(context.Background(), w.db.NewBatch(), db.NoSync)
		c.values++
		if c.park(fmt.Sprintf("caught up %d", c.values)) != nil || err != nil {
			return false
		}
		w.s.met.CaughtUp++
		w.caughtUp = max(w.caughtUp, n)
	}
	return false
}
