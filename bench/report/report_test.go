package report

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"lsmdb/bench/engine"
	"lsmdb/bench/measure"
	"lsmdb/bench/workload"
)

func TestRatiosCompareWithTheBestPeer(t *testing.T) {
	kinds := []engine.Kind{
		{Name: "lsmdb", Go: true, LSM: true}, {Name: "pebble", Go: true, LSM: true},
		{Name: "goleveldb", Go: true, LSM: true}, {Name: "bbolt", Go: true}, {Name: "rocksdb", LSM: true},
	}
	medians := map[string]float64{"lsmdb": 100, "pebble": 50, "goleveldb": 20, "bbolt": 400, "rocksdb": 80}
	more := ratios(Metric{}, medians, kinds)
	if want := (Ratios{BestGo: 2, Bbolt: 0.25, RocksDB: 1.25, Peer: "pebble"}); more != want {
		t.Errorf("more is better: %+v, want %+v", more, want)
	}
	less := ratios(Metric{LowerBetter: true}, medians, kinds)
	if want := (Ratios{BestGo: 0.2, Bbolt: 4, RocksDB: 0.8, Peer: "goleveldb"}); less != want {
		t.Errorf("less is better: %+v, want %+v", less, want)
	}
}

func TestRowsTakeMediansAndMarkWhatWasCapped(t *testing.T) {
	var results []workload.Result
	for round, ops := range []float64{10, 1000, 30} {
		results = append(results, workload.Result{Engine: "lsmdb", Section: "fillseq", Workload: "fillseq", Round: round, OpsPerSecond: ops, Capped: round == 1})
	}
	rows := Rows(results, []engine.Kind{{Name: "lsmdb"}})
	if len(rows) == 0 || rows[0].Median["lsmdb"] != 30 || len(rows[0].Capped) != 1 {
		t.Fatalf("rows: %+v", rows)
	}
	if got := median([]float64{1, 9, 3, 5}); got != 4 {
		t.Errorf("median of four: %v", got)
	}
}

func TestSpreadOfRoundsIsMentionedWhenLarge(t *testing.T) {
	rows := func(figures ...float64) Row {
		var results []workload.Result
		for _, ops := range figures {
			results = append(results, workload.Result{Engine: "lsmdb", Section: "fillseq", Workload: "fillseq", OpsPerSecond: ops})
		}
		return Rows(results, []engine.Kind{{Name: "lsmdb"}})[0]
	}
	if r := rows(95, 100, 105); r.Least["lsmdb"] != 95 || r.Most["lsmdb"] != 105 || cell(r, "lsmdb", 0) != "100" {
		t.Errorf("small spread: %+v, %s", r, cell(r, "lsmdb", 0))
	}
	if got := cell(rows(80, 100, 150), "lsmdb", 0); got != "100 ±35%" {
		t.Errorf("large spread: %s", got)
	}
	if got := cell(rows(0, 0.001, 10), "lsmdb", 2); got != "0.00" {
		t.Errorf("spread of nothing: %s", got)
	}
}

func TestFilesAreReadAgain(t *testing.T) {
	results, kinds := grown()
	f := File{Origin: Origin{Commit: "abc"}, Rounds: 2, Engines: Engines(nil, engine.Options{}), Rows: Rows(results, kinds), Results: results}
	dir := t.TempDir()
	path := filepath.Join(dir, "run.json")
	if err := f.Write(path); err != nil {
		t.Fatal(err)
	}
	again, err := Read(path)
	if err != nil || !reflect.DeepEqual(*again, f) {
		t.Errorf("read again: %v\n%+v\ninstead of\n%+v", err, again, f)
	}
	for name, text := range map[string]string{"cut.json": "{", "other.json": "{}", "list.json": "[]"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTenthsAreReportedOfTheQueueOnly(t *testing.T) {
	results := []workload.Result{
		{Engine: "lsmdb", Section: "queue", Workload: "queue", OpsPerSecond: 70, Extra: map[string]float64{workload.FirstTenth: 100, workload.LastTenth: 50}},
		{Engine: "lsmdb", Section: "fillseq", Workload: "fillseq", OpsPerSecond: 5},
	}
	told := map[string]float64{}
	for _, r := range Rows(results, []engine.Kind{{Name: "lsmdb"}}) {
		if strings.HasSuffix(r.Metric, "tenth") || strings.Contains(r.Metric, "tenth_") {
			told[r.Workload+" "+r.Metric] = r.Median["lsmdb"]
		}
	}
	want := map[string]float64{"queue first_tenth_per_second": 100, "queue last_tenth_per_second": 50, "queue last_to_first_tenth": 0.5}
	if !maps.Equal(told, want) {
		t.Errorf("told: %v", told)
	}
}

func TestNotesAreReportedOfTheirStepsOnly(t *testing.T) {
	results := []workload.Result{
		{Engine: "lsmdb", Section: "checkpoint", Workload: "checkpoint", Extra: map[string]float64{workload.LongestPut: 7}},
		{Engine: "lsmdb", Section: "expiry", Workload: "expiry", Extra: map[string]float64{workload.EndDisk: 9}},
	}
	told := map[string]float64{}
	for _, r := range Rows(results, []engine.Kind{{Name: "lsmdb"}}) {
		if r.Metric == workload.LongestPut || r.Metric == workload.EndDisk {
			told[r.Workload+" "+r.Metric] = r.Median["lsmdb"]
		}
	}
	if want := map[string]float64{"checkpoint longest_put_ms": 7, "expiry end_disk_mb": 9}; !maps.Equal(told, want) {
		t.Errorf("told: %v", told)
	}
}

func TestAcknowledgementIsTheAnswerWhereNothingIsPipelined(t *testing.T) {
	answer := measure.Summary{Mean: 1}
	acks := measure.Summary{Mean: 2}
	if got := acknowledged(workload.Result{Latency: answer}); got != answer {
		t.Errorf("without a pipeline: %+v", got)
	}
	if got := acknowledged(workload.Result{Latency: answer, Acknowledged: &acks}); got != acks {
		t.Errorf("with one: %+v", got)
	}
}

// grown is what two engines did at two sizes.
func grown() ([]workload.Result, []engine.Kind) {
	kinds := []engine.Kind{{Name: "lsmdb", Go: true, LSM: true}, {Name: "pebble", Go: true, LSM: true}}
	var results []workload.Result
	for _, entries := range []int64{20_000, 3000} {
		for at, k := range kinds {
			results = append(results, workload.Result{
				Engine: k.Name, Section: "size-fill", Workload: "fillrandom", Entries: entries,
				OpsPerSecond: float64(entries) * float64(2-at), UserBytes: 10, WrittenBytes: 20,
			})
		}
	}
	return results, kinds
}

func TestGrowthHasARowPerPointAndATablePerMetric(t *testing.T) {
	results, kinds := grown()
	rows := Rows(results, kinds)
	if first := rows[0]; first.Point != 3000 || rows[1].Point != 20_000 || first.Ratios.BestGo != 2 {
		t.Errorf("rows: %+v", rows[:2])
	}
	var out strings.Builder
	WriteTables(&out, rows, kinds, false)
	for _, want := range []string{"fillrandom by number of entries: operations per second", "20,000", "bytes written", "peak memory"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("tables lack %q:\n%s", want, out.String())
		}
	}
}

func TestMarkdownNamesMachineAndRatios(t *testing.T) {
	results, kinds := grown()
	for _, name := range []string{"lsmdb", "pebble"} {
		results = append(results, workload.Result{Engine: name, Section: "fillseq", Workload: "fillseq", OpsPerSecond: 5})
	}
	f := File{Origin: Origin{Command: "go run . full", Commit: "abc", Machine: ThisMachine(t.TempDir())}, Rounds: 1, Rows: Rows(results, kinds)}
	path := filepath.Join(t.TempDir(), "out.md")
	if err := f.WriteMarkdown(path, kinds); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# Results: out\n", "`go run . full`", "| commit | abc |", "| date | 0001-01-01 |", "| memory |", "## Ratios to the best Go LSM store", "| fillseq | 1.00 |",
		"## Fillrandom by number of entries: operations per second", "| 3,000 | 6,000 | 3,000 | 2.00 |",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	if host, err := os.Hostname(); err == nil && len(host) > 3 && strings.Contains(string(text), host) {
		t.Error("names the host")
	}
}

func TestPicturesAreDrawnForGrowthAndComparison(t *testing.T) {
	results, kinds := grown()
	results = append(results, workload.Result{Engine: "lsmdb", Section: "fillsync-8", Workload: "fillsync-8", OpsPerSecond: 5})
	dir := t.TempDir()
	if err := WritePictures(dir, Rows(results, kinds), kinds); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"growth-entries-fillrandom-ops_per_second.svg": "20 k", "ops_per_second-synced-writes.svg": "fillsync-8",
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(text), want) || !strings.Contains(string(text), "fill:#FFFFFF") {
			t.Errorf("%s: %v, %d bytes without %q", name, err, len(text), want)
		}
	}
}

func TestCommandLineLeavesOutWhereFilesGo(t *testing.T) {
	arguments := append(strings.Fields("full --json /a/b.json --rounds 1 --results=c --profile p --pictures=x --engines lsmdb --sizes"), "")
	got := CommandLine("rocksdb", arguments)
	if want := "go run -tags rocksdb . full --rounds 1 --engines lsmdb --sizes ''"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCompactNumbers(t *testing.T) {
	for value, want := range map[float64]string{0: "0/s", 7.125: "7.12/s", 42.26: "42.3/s", 999.6: "1.00 k/s", 20_000: "20 k/s", 3_456_789: "3.46 M/s"} {
		if got := compact(value, "/s"); got != want {
			t.Errorf("%v: %q, want %q", value, got, want)
		}
	}
}

func TestTicksAreRoundNumbersInSight(t *testing.T) {
	var labels []string
	for _, tick := range (roundTicks{unit: " µs"}).Ticks(30, 1100) {
		labels = append(labels, tick.Label)
	}
	if got := strings.Join(labels, ", "); got != "50 µs, 100 µs, 200 µs, 500 µs, 1 kµs" {
		t.Error(got)
	}
}

func TestNumber(t *testing.T) {
	for value, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := number(value, 0); got != want {
			t.Errorf("%v: %s, want %s", value, got, want)
		}
	}
	if got := number(1234.567, 2); got != "1,234.57" {
		t.Error(got)
	}
}

func TestProcessorsHaveRowsOfTheirOwnInOneTable(t *testing.T) {
	var results []workload.Result
	for _, processors := range []int{4, 1, 2} {
		results = append(results, workload.Result{
			Engine: "lsmdb", Section: "fillseq", Workload: "fillseq", OpsPerSecond: float64(100 * processors), Processors: processors,
		})
	}
	kinds := []engine.Kind{{Name: "lsmdb"}}
	rows := Rows(results, kinds)
	var labels []string
	for _, r := range rows[:3] {
		labels = append(labels, r.label()+" "+cell(r, "lsmdb", 0))
	}
	if got := strings.Join(labels, ", "); got != "fillseq cpu=1 100, fillseq cpu=2 200, fillseq cpu=4 400" {
		t.Error(got)
	}
	for _, b := range blocks(rows) {
		if len(b.rows) != 3 {
			t.Errorf("%s: %d rows in a table", b.title, len(b.rows))
		}
	}
	if r := Rows(results[:1], kinds)[0]; r.label() != "fillseq" {
		t.Errorf("one value of GOMAXPROCS: %s", r.label())
	}
}

func TestFiguresTellWhatWritesSurvive(t *testing.T) {
	result := workload.Result{Engine: "lsmdb", Section: "fillseq", Workload: "fillseq", OpsPerSecond: 5}
	for survival, want := range map[engine.Survival]string{"": "5", engine.Kill: "5", engine.Nothing: "5†", engine.PowerFailure: "5‡"} {
		result.Survives = survival
		row := Rows([]workload.Result{result}, []engine.Kind{{Name: "lsmdb"}})[0]
		if got := cell(row, "lsmdb", 0); got != want {
			t.Errorf("%q: %s, want %s", survival, got, want)
		}
	}
}

func TestOperationsAtAFixedRateHavePercentilesInsteadOfSpeed(t *testing.T) {
	latency := measure.Summary{P50: 1000, P99: 2000, P999: 3000, Max: 4000}
	results := []workload.Result{
		{Engine: "lsmdb", Section: "rate", Workload: "rate-get", OpsPerSecond: 5, Latency: latency},
		{Engine: "lsmdb", Section: "fillseq", Workload: "fillseq", OpsPerSecond: 5, Latency: latency},
	}
	told := map[string]float64{}
	for _, r := range Rows(results, []engine.Kind{{Name: "lsmdb"}}) {
		if strings.HasPrefix(r.Metric, "p") && strings.HasSuffix(r.Metric, "_us") || r.Metric == "max_us" || r.Metric == "ops_per_second" {
			told[r.Workload+" "+r.Metric] = r.Median["lsmdb"]
		}
	}
	want := map[string]float64{
		"rate-get p50_us": 1, "rate-get p99_us": 2, "rate-get p99_9_us": 3, "rate-get max_us": 4,
		"fillseq ops_per_second": 5, "fillseq p99_9_us": 3,
	}
	if !maps.Equal(told, want) {
		t.Errorf("told: %v", told)
	}
}
