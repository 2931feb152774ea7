package demo

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
)

// sampleEvery is how often the nodes are asked what they are doing.
const sampleEvery = 100 * time.Millisecond

// pictureColumns is how wide the picture is at most.
const pictureColumns = 64

// sample is what was going on at a moment.
type sample struct {
	lanes []rune // of each node
	acked int64
}

// What a node does, in the picture.
const (
	laneLeads    = '█'
	laneFollows  = '▄'
	laneElects   = '?'
	laneCatchUp  = '▒'
	laneDead     = '·'
	laneStarting = ' '
)

// recorder takes samples until it is stopped.
type recorder struct {
	samples []sample
	started time.Time
	acked   atomic.Int64
	done    chan struct{}
}

// record samples the cluster until ctx ends.
func (r *recorder) record(ctx context.Context, c *cluster) {
	defer close(r.done)
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		r.samples = append(r.samples, r.look(ctx, c))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (r *recorder) look(ctx context.Context, c *cluster) sample {
	s := sample{acked: r.acked.Load()}
	var commit uint64
	applied := make([]uint64, len(c.nodes))
	for i, n := range c.nodes {
		status, err := c.status(ctx, n)
		lane := laneStarting
		switch {
		case err != nil:
			lane = laneDead
		case status.State == "Leader":
			lane = laneLeads
		case status.State == "Candidate":
			lane = laneElects
		case status.State == "Follower":
			lane = laneFollows
		}
		s.lanes = append(s.lanes, lane)
		commit = max(commit, status.Commit)
		applied[i] = status.Applied
	}
	for i, lane := range s.lanes { // far behind what the others have
		if lane == laneFollows && applied[i]+200 < commit {
			s.lanes[i] = laneCatchUp
		}
	}
	return s
}

// draw writes the picture: a line of time for each node, and how many writes were acknowledged.
func (r *recorder) draw(w io.Writer, c *cluster) {
	if len(r.samples) == 0 {
		return
	}
	columns := min(pictureColumns, len(r.samples))
	at := func(column int) int { return column * len(r.samples) / columns }
	for i, n := range c.nodes {
		var line strings.Builder
		for column := range columns {
			line.WriteRune(striking(r.samples[at(column):at(column+1)], i))
		}
		fmt.Fprintf(w, "  node %s  %s\n", n.id, line.String())
	}
	rates := make([]int64, columns)
	var most int64
	for column := range columns {
		end := r.samples[len(r.samples)-1].acked
		if column+1 < columns {
			end = r.samples[at(column+1)].acked
		}
		rates[column] = end - r.samples[at(column)].acked
		most = max(most, rates[column])
	}
	const height = 4
	for row := height; row > 0; row-- {
		var line strings.Builder
		for _, rate := range rates {
			line.WriteRune(block(rate, most, row, height))
		}
		label := "        "
		if row == height {
			label = " writes "
		}
		fmt.Fprintf(w, " %s %s\n", label, line.String())
	}
	seconds := float64(len(r.samples)) * sampleEvery.Seconds()
	fmt.Fprintf(w, "          0 s%*s\n", columns-3, fmt.Sprintf("%.0f s", seconds))
	fmt.Fprintf(w, "          %c leads  %c follows  %c elects  %c dead  %c catches up\n", laneLeads, laneFollows, laneElects, laneDead, laneCatchUp)
}

// striking is what stands for several samples of a node: what is rare goes first.
func striking(samples []sample, node int) rune {
	for _, lane := range []rune{laneCatchUp, laneElects, laneDead, laneLeads} {
		for _, s := range samples {
			if s.lanes[node] == lane {
				return lane
			}
		}
	}
	return samples[0].lanes[node]
}

// block is the part of a bar that lies in a row, counted from below.
func block(value, most int64, row, height int) rune {
	if most == 0 {
		return ' '
	}
	eighths := int(value * int64(height) * 8 / most)
	if value > 0 {
		eighths = max(eighths, 1)
	}
	return []rune(" ▁▂▃▄▅▆▇█")[max(0, min(8, eighths-(row-1)*8))]
}
