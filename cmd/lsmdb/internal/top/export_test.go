package top

import (
	"strings"
	"time"

	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/db"
)

// Picture draws what is seen after some metrics and later others, the first nil for none.
func Picture(before, now *db.Metrics) string {
	t := &top{dir: strings.Repeat("/directory", 9), pid: 4194304}
	if before != nil {
		t.before = &sample{Metrics: *before}
	}
	return strings.Join(t.lines(display.Ink{}, &sample{Time: time.Now(), Metrics: *now}), "\n")
}

// Foreign draws what another process says of itself.
func Foreign(health, where string) string {
	t := &top{dir: "dir"}
	return strings.Join(t.lines(display.Ink{}, &sample{Time: time.Now(), Health: health, Pins: []db.Pin{{Where: where}}}), "\n")
}
