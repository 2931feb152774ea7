package planted

// plantedSalvage are bugs of salvage.
var plantedSalvage = []noticed{
	{plantedBug{"a lost table that nobody tells of", []edit{
		{"internal/salvage/table.go", "		r.miss(t.loss(-1, fmt.Sprintf(\"%s; it had", "		_ = (t.loss(-1, fmt.Sprintf(\"%s; it had"}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"a lost block that nobody tells of", []edit{
		{"internal/salvage/table.go", "			s.miss(l)\n		}\n	}\n	if found", "			_ = l\n		}\n	}\n	if found"}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"lost range deletes that nobody tells of", []edit{
		{"internal/salvage/table.go", "found < deletes {", "found > deletes {"}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"a hole in the log that nobody tells of", []edit{
		{"internal/salvage/log.go", "	r.miss(lost)\n", ""}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"a log that ends for good where it was not closed", []edit{
		{"internal/salvage/log.go", "	r.lose(unended)\n", ""}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"a log that ends at its first hole", []edit{
		{"internal/salvage/records.go", "				return h, false, err\n			}\n			continue\n", "				return h, false, err\n			}\n			break\n"}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"a range of lost keys that is too short", []edit{
		{"internal/salvage/table.go", "				l.From = user(g.from)\n", "				l.From = append(user(g.from), 'z')\n"}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"blocks that are not looked for behind a damaged one", []edit{
		{"internal/salvage/find.go", "		f.skip(f.walk.at + 1)\n", "		f.skip(f.limit)\n"}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"a table without an index that is given up", []edit{
		{"internal/salvage/table.go", "		err = s.byChecksums()\n", "		err = nil\n"}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"obsolete tables that are used", []edit{
		{"internal/salvage/table.go", "	case !r.tree.whole:\n		return true\n", "	case true:\n		return true\n"}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"obsolete logs that are used", []edit{
		{"internal/salvage/log.go", "kind == base.FileWAL && number >= oldest {", "kind == base.FileWAL {"}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"operands onto what is lost", []edit{
		{"internal/salvage/operands.go", "			limit, why = lower, h\n", "			_ = h\n"}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"operands that are left out in silence", []edit{
		{"internal/salvage/write.go", "		r.reportOperands()\n", ""}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"a loaded table without its number", []edit{
		{"internal/salvage/table.go", "			t.seq = meta.LargestSeq\n", ""}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"range deletes of tables that are forgotten", []edit{
		{"internal/salvage/write.go", "		if len(t.deletes) > 0 {\n", "		if false {\n"}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"a new database before all of it is durable", []edit{
		{"internal/checkpoint/directory.go", "	if err := errors.Join(d.SyncDir(d.dir), d.Check()); err != nil {\n", "	if err := d.Check(); err != nil {\n"}}}, "./internal/salvage", "TestWholeOrNotThere"},
	{plantedBug{"sectors that end the rescue", []edit{
		{"internal/salvage/source.go", "	if n == len(p) || err == nil || ended(err) {\n", "	if true {\n"}}}, "./internal/salvage", "TestSectorsThatCannotBeRead"},
}
