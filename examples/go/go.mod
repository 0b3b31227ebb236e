module example.org/detailflow

go 1.19
