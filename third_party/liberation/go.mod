// In place of the module of this name, for one of whose twelve fonts gonum.org/v1/plot
// would carry all of them: 4.3 MB of every program. The Go font stands in for each.
module codeberg.org/go-fonts/liberation

go 1.26.0

require golang.org/x/image v0.30.0
