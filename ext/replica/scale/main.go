// Command scale computes and simulates what lsmdb costs beyond one machine, from what was
// measured on one: it prints the tables of docs/scale.md. With -measure it runs three nodes on
// this machine first, and holds formula and simulation to them.
//
// It consists of the costs and the formulas (costs.go), a cluster that is simulated event by
// event (cluster.go), and the placement, loss and repair of many nodes (region.go), and three real nodes
// (measure.go).
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

func main() {
	measuring := flag.Bool("measure", false, "run three nodes on this machine, and compare (half a minute)")
	flag.Parse()
	costs := Measured()
	if *measuring {
		if err := measureTable(os.Stdout, costs); err != nil {
			fmt.Fprintln(os.Stderr, "scale:", err)
			os.Exit(1)
		}
	}
	clusterTable(os.Stdout, costs)
	groupsTable(os.Stdout, costs)
	regionTable(os.Stdout)
}

// runMicros is the simulated time of a cluster.
const runMicros = 4e6

func printTable(w io.Writer, title string, header table.Row, rows []table.Row) {
	t := table.NewWriter()
	t.AppendHeader(header)
	t.AppendRows(rows)
	var columns []table.ColumnConfig
	for i := range header {
		columns = append(columns, table.ColumnConfig{Number: i + 1, Align: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	fmt.Fprintf(w, "%s\n\n%s\n\n", title, t.RenderMarkdown())
}

// clusterTable shows one group of three nodes by the number of clients.
func clusterTable(w io.Writer, c Costs) {
	var rows []table.Row
	for _, clients := range []int{1, 8, 64, 512} {
		s := Setup{Nodes: 3, Replicas: replicas, Groups: 1, Clients: clients, EntryBytes: 150, Shared: true}
		formula, bound := c.Throughput(s)
		o := Simulate(c, s, runMicros, 1)
		rows = append(rows, table.Row{clients, number(formula), bound, number(o.PerSecond),
			number(o.Median), number(o.P99), number(o.P999)})
	}
	printTable(w, "One group on three nodes",
		table.Row{"clients", "entries/s, formula", "bound by", "entries/s, simulated", "median, µs", "99 %", "99.9 %"}, rows)
}

// groupsTable shows what sharing a log gives to many groups in one process.
func groupsTable(w io.Writer, c Costs) {
	var rows []table.Row
	for _, groups := range []int{3, 30, 300, 3000} {
		row := table.Row{groups}
		for _, shared := range []bool{true, false} {
			s := Setup{Nodes: 3, Replicas: replicas, Groups: groups, Clients: 4, EntryBytes: 150, Shared: shared}
			formula, bound := c.Throughput(s)
			o := Simulate(c, s, runMicros, 1)
			row = append(row, number(formula), bound, number(o.PerSecond), number(o.P99))
		}
		rows = append(rows, row)
	}
	printTable(w, "Many groups on three nodes, four clients each: one database on each node, or one for each group",
		table.Row{"groups", "formula", "bound by", "simulated", "99 %, µs", "a log each, formula", "bound by", "simulated", "99 %, µs"}, rows)
}

// regionTable shows what regions of several sizes see. Each node holds 500 GB.
func regionTable(w io.Writer) {
	var rows []table.Row
	for _, nodes := range []int{3, 30, 300, 1000} {
		for _, scatter := range []int{2, 10, 100} {
			if scatter >= nodes {
				continue
			}
			r := Region{Nodes: nodes, NodeBytes: 500e9, Scatter: scatter, FailYears: 10, Bandwidth: 50e6}
			failed := max(3, nodes/100)
			rows = append(rows, table.Row{nodes, scatter, fmt.Sprintf("%.4f", r.FailuresPerDay()), fmt.Sprintf("%.1f", r.RepairSeconds()/60),
				fmt.Sprintf("%.2g", r.LossesPerYear()), failed, fmt.Sprintf("%.3f", r.LossAtOnce(failed)), fmt.Sprintf("%.3f", r.SimulateAtOnce(failed, 2000, 1))})
		}
	}
	printTable(w, "Regions, 500 GB on each node, 50 MB/s of a node for repairs, a node lost every ten years",
		table.Row{"nodes", "partners of each", "lost per day", "repair, minutes", "groups' losses per year", "lost at once", "that loses data, formula", "simulated"}, rows)
}

// number shows a figure without decimals, thousands apart.
func number(f float64) string {
	digits := fmt.Sprintf("%.0f", f)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
