module dataflex

go 1.26
