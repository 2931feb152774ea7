package workload

// Paced is the group of workloads at a fixed rate.
const Paced = "at a fixed rate"

// Operations at a fixed rate.
const (
	rateClients = 8
	rateLength  = 4  // how long a step takes, in units of Scale.Duration
	syncedPuts  = 10 // one in so many of Scale.Rate
)

// rateSection measures latencies below saturation, where they say what a user waits for:
// under full load they say how many clients there are. Memtables are small, so that
// flushes and merges take place meanwhile.
func rateSection() Section {
	return Section{Name: "rate", Group: Paced, Acts: []Act{
		{Clients: 1, Steps: []Step{prepare, waitSettled}},
		{Clients: rateClients, Small: true, Steps: []Step{
			warm,
			atRate("rate-nothing", "no operation at all: how late the harness is by itself", 1, nothing),
			atRate("rate-get", "random gets at a fixed rate, 8 clients", 1, getAny),
			atRate("rate-mix", "half gets, half puts at a fixed rate, 8 clients", 1, getOrPutAny),
			atRate("rate-put", "random puts at a fixed rate, 8 clients", 1, putAny),
		}},
		{Clients: rateClients, Small: true, Queued: true, Steps: []Step{
			warm,
			atRate("rate-mix-queued", "rate-mix, and a killed process may lose the newest writes: lsmdb's Queued", 1, getOrPutAny),
			atRate("rate-put-queued", "rate-put, likewise", 1, putAny),
		}},
		{Clients: rateClients, Small: true, Sync: true, Steps: []Step{
			atRate("rate-put-sync", "random puts at a tenth of the rate, each fsynced, 8 clients", syncedPuts, putAny),
		}},
	}}
}

// atRate is a step whose operations are due at one in share of Scale.Rate.
func atRate(name, about string, share int64, do func(r *Run, c *Client, i int64) error) Step {
	return Step{Name: name, About: about, Paced: true, Do: func(r *Run) error {
		return r.paced(rateClients, max(1, r.Scale.Rate/share), rateLength*r.Scale.Duration, func(c *Client, i int64) (bool, error) {
			return true, do(r, c, i)
		})
	}}
}

func nothing(*Run, *Client, int64) error { return nil }

func getAny(r *Run, c *Client, i int64) error { return r.get(c, c.rng.Int64N(r.Data.Entries), i) }
func putAny(r *Run, c *Client, _ int64) error { return r.put(c, c.rng.Int64N(r.Data.Entries), 1) }

func getOrPutAny(r *Run, c *Client, i int64) error {
	if c.rng.IntN(2) == 0 {
		return getAny(r, c, i)
	}
	return putAny(r, c, i)
}
