# Moves a file over the JSON API: Rscript move.R DATA_TYPE:12 visualizer:/maps/
# On Debian: apt-get install r-base-core r-cran-curl r-cran-jsonlite
library(curl)
library(jsonlite)

service <- Sys.getenv("DATA_MOVER_URL", "http://127.0.0.1:6543")
token <- Sys.getenv("DATA_MOVER_TOKEN")

# Returns the answer as a list; a refusal ends the program with its reason.
ask <- function(method, path, body = NULL) {
  handle <- new_handle(customrequest = method)
  if (token != "") handle_setheaders(handle, Authorization = paste("Bearer", token), "Content-Type" = "application/json")
  else handle_setheaders(handle, "Content-Type" = "application/json")
  if (!is.null(body)) handle_setopt(handle, postfields = toJSON(body, auto_unbox = TRUE))
  response <- curl_fetch_memory(paste0(service, "/api/v1", path), handle)
  answer <- fromJSON(rawToChar(response$content))
  if (response$status_code >= 400) stop(answer$reason, call. = FALSE)
  answer
}

ends <- commandArgs(trailingOnly = TRUE)
# The same key gives the same move, however often this program is run.
options <- list(label = "from R", key = paste(ends, collapse = " "))
move <- ask("POST", "/moves", list(source = ends[1], destination = ends[2], options = options))

# The service waits with its answer until the move has ended, 30 s at most.
repeat {
  move <- ask("GET", paste0("/moves/", move$id, "?wait=30"))
  if (!move$status %in% c("PENDING", "IN_PROGRESS")) break
}
if (move$status != "COMPLETED") stop(move$reason, call. = FALSE)
cat(move$path, move$sha256, "\n")
