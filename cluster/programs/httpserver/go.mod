module weft/cluster/httpserver

go 1.26.0
