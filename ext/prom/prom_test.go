package prom

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"lsmdb/db"
)

func open(t *testing.T) *db.DB {
	t.Helper()
	d, err := db.Open(filepath.Join(t.TempDir(), "db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// scrape asks a real handler over loopback, as Prometheus does.
func scrape(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %v", response.Status, body, err)
	}
	return string(body)
}

func TestScrape(t *testing.T) {
	one, other := open(t), open(t)
	for range 3 {
		if err := one.Put([]byte("key"), []byte("value")); err != nil {
			t.Fatal(err)
		}
	}
	if err := one.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(one, prometheus.Labels{"database": "one"}))
	registry.MustRegister(NewCollector(other, prometheus.Labels{"database": "other"}))
	page := scrape(t, registry)
	for _, line := range []string{
		`lsmdb_operations_total{database="one"} 3`,
		`lsmdb_operations_total{database="other"} 0`,
		`lsmdb_user_bytes_total{database="one"} 24`,
		`lsmdb_jobs_total{database="one",job="flush"} 1`,
		`lsmdb_stage_mailbox_messages{database="one",stage="writer"} 0`,
		`lsmdb_stalled_behind{database="one",stage="compactor"} 0`,
		`lsmdb_failed{database="one"} 0`,
		`lsmdb_recovery_created{database="one"} 1`,
		"# TYPE lsmdb_operations_total counter",
		"# TYPE lsmdb_level_bytes gauge",
	} {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("%q is missing", line)
		}
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if page := scrape(t, registry); !strings.Contains(page, `lsmdb_operations_total{database="one"} 3`) {
		t.Error("nothing is left after Close")
	}
}

// TestSameLabels: two databases that cannot be told apart are refused, not mixed.
func TestSameLabels(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(open(t), nil))
	if err := registry.Register(NewCollector(open(t), nil)); err == nil {
		t.Error("both are registered")
	}
}

// TestDescribe: what is described does not depend on what there is to show.
func TestDescribe(t *testing.T) {
	describe := func(m db.Metrics) (all []string) {
		descs := make(chan *prometheus.Desc, 1000)
		newCollector(func() db.Metrics { return m }, nil).Describe(descs)
		close(descs)
		for d := range descs {
			all = append(all, d.String())
		}
		return all
	}
	d := open(t)
	if empty, full := describe(db.Metrics{}), describe(d.Metrics()); !slices.Equal(empty, full) || len(full) < 80 {
		t.Errorf("%d descriptions of nothing, %d of a database", len(empty), len(full))
	}
}

// TestEveryMetricIsShown gives each figure of db.Metrics a value of its own and looks for it.
func TestEveryMetricIsShown(t *testing.T) {
	m := db.Metrics{Levels: make([]db.LevelMetrics, 1), Stages: []db.StageMetrics{{Name: "writer"}}}
	want := make(map[float64]string)
	next := int64(1000)
	var fill func(v reflect.Value, path string)
	fill = func(v reflect.Value, path string) {
		switch {
		case v.Type() == reflect.TypeFor[time.Duration]():
			next++
			v.SetInt(next * int64(time.Second))
			want[float64(next)] = path
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				fill(v.Field(i), path+"."+v.Type().Field(i).Name)
			}
		case v.Kind() == reflect.Slice:
			for i := range v.Len() {
				fill(v.Index(i), path)
			}
		case v.CanInt() && !strings.HasSuffix(path, ".Level"): // that is a label
			next++
			v.SetInt(next)
			want[float64(next)] = path
		case v.CanUint():
			next++
			v.SetUint(uint64(next))
			want[float64(next)] = path
		}
	}
	fill(reflect.ValueOf(&m).Elem(), "Metrics")
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newCollector(func() db.Metrics { return m }, nil))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.Metric {
			delete(want, metric.GetCounter().GetValue())
			delete(want, metric.GetGauge().GetValue())
		}
	}
	for _, path := range want {
		t.Errorf("%s is not shown", path)
	}
	if next < 1090 {
		t.Errorf("only %d figures", next-1000)
	}
}

// TestWords: a failure, and the stage that writers wait for.
func TestWords(t *testing.T) {
	m := db.Metrics{Failure: "the disk is gone"}
	m.Stalls.Behind = "compactor"
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newCollector(func() db.Metrics { return m }, nil))
	page := scrape(t, registry)
	for _, line := range []string{"lsmdb_failed 1\n", `lsmdb_stalled_behind{stage="compactor"} 1`, `lsmdb_stalled_behind{stage="flusher"} 0`} {
		if !strings.Contains(page, line) {
			t.Errorf("%q is missing", line)
		}
	}
}

func TestScrapedBesideWriters(t *testing.T) {
	d := open(t)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(d, nil))
	var writers sync.WaitGroup
	for range 2 {
		writers.Go(func() {
			for range 300 {
				if err := d.Put([]byte("key"), []byte("value"), db.NoSync); err != nil {
					t.Error(err)
				}
			}
		})
		writers.Go(func() {
			for range 20 {
				if _, err := registry.Gather(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
}

// TestDashboard: what the dashboard asks for exists.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		UID    string `json:"uid"`
		Panels []struct {
			ID      int    `json:"id"`
			Title   string `json:"title"`
			Type    string `json:"type"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, s := range series() {
		names["lsmdb_"+s.name] = true
	}
	name, ids, asked := regexp.MustCompile(`lsmdb_\w+`), make(map[int]bool), 0
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] || panel.Title == "" {
			t.Errorf("panel %d, %q", panel.ID, panel.Title)
		}
		ids[panel.ID] = true
		for _, target := range panel.Targets {
			for _, n := range name.FindAllString(target.Expr, -1) {
				asked++
				if !names[n] {
					t.Errorf("panel %q asks for %s, which nobody shows", panel.Title, n)
				}
			}
		}
	}
	if asked < 20 || dashboard.UID == "" {
		t.Errorf("%d metrics in the dashboard %q", asked, dashboard.UID)
	}
}
