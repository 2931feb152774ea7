package planted

// plantedSalvage are bugs of salvage.
var plantedSalvage = []noticed{
	{plantedBug{"a lost table that nobody tells of", []edit{
		{"internal/salvage/table.go", "		lost.Doubtful = !r.tree.whole // an edit that is lost may have removed it\n		r.miss(lost)\n", "		_ = lost\n"}}}, "./internal/tests/corruption", "TestSalvageSweep"},
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
		{"internal/salvage/table.go", "				l.To = user(g.to)\n", "				l.To = l.From\n"}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"blocks that are not looked for behind a damaged one", []edit{
		{"internal/salvage/table.go", "		if e.offset > at && !s.over {\n", "		if e.offset > at {\n			ok, e = false, extent{offset: limit}\n		}\n		if e.offset > at && !s.over {\n"}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"a table without an index that is given up", []edit{
		{"internal/salvage/table.go", "		err = s.byChecksums()\n", "		err = nil\n"}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"obsolete tables that are used", []edit{
		{"internal/salvage/table.go", "	case !r.tree.whole:\n		return true\n", "	case true:\n		return true\n"}}}, "./internal/salvage", "TestObsoleteFiles"},
	{plantedBug{"obsolete logs that are used", []edit{
		{"internal/salvage/log.go", "kind == base.FileWAL && number >= oldest {", "kind == base.FileWAL {"}}}, "./internal/salvage", "TestObsoleteFiles"},
	{plantedBug{"operands onto what is lost", []edit{
		{"internal/salvage/operands.go", "			limit, why = lower, h\n", "			_ = h\n"}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"operands that are left out in silence", []edit{
		{"internal/salvage/write.go", "		r.reportOperands()\n", ""}}}, "./internal/tests/corruption", "TestSalvageSweep"},
	{plantedBug{"a loaded table without its number", []edit{
		{"internal/salvage/table.go", "			t.seq = meta.LargestSeq\n", ""}}}, "./internal/salvage", "TestLoadsAndRangeDeletes"},
	{plantedBug{"range deletes of tables that are forgotten", []edit{
		{"internal/salvage/write.go", "		if len(t.deletes) > 0 {\n", "		if false {\n"}}}, "./internal/salvage", "TestLoadsAndRangeDeletes"},
	{plantedBug{"operands that are merged twice", []edit{
		{"internal/salvage/operands.go", "	if !r.guessed || !r.hasOperands() {\n", "	if true {\n"}}}, "./internal/salvage", "TestObsoleteFiles"},
	{plantedBug{"tables that stay behind a failure", []edit{
		{"internal/salvage/write.go", "		target.Made = append(target.Made, base.TableName(t.Number))\n", "		_ = t\n"}}}, "./internal/salvage", "TestWholeOrNotThere"},
	{plantedBug{"spilled logs that stay in the new database", []edit{
		{"internal/salvage/write.go", "		if err := target.Remove(base.TablePath(r.out.Dir, t.Number)); err != nil {\n			return err\n		}\n", ""}}}, "./internal/salvage", "TestLogIsSpilled"},
	{plantedBug{"sectors that end the rescue", []edit{
		{"internal/salvage/source.go", "	if n == len(p) || err == nil || ended(err) {\n", "	if true {\n"}}}, "./internal/salvage", "TestSectorsThatCannotBeRead"},
}
