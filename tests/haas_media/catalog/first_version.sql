-- The tables as the first version of the catalog made them, in SQLite's words.
CREATE TABLE libraries (
    id INTEGER NOT NULL, title TEXT NOT NULL, kind VARCHAR(8) NOT NULL, path TEXT NOT NULL,
    online BOOLEAN DEFAULT 1 NOT NULL, offline_reason TEXT, last_scanned DATETIME,
    CONSTRAINT pk_libraries PRIMARY KEY (id),
    CONSTRAINT ck_libraries_kind CHECK (kind IN ('movies', 'tv')),
    CONSTRAINT uq_libraries_title UNIQUE (title)
);
CREATE TABLE movies (
    release_date DATE, runtime INTEGER, id INTEGER NOT NULL, tmdb_id INTEGER, imdb_id TEXT,
    match_key TEXT NOT NULL, title TEXT NOT NULL, original_title TEXT, year INTEGER, overview TEXT,
    poster_path TEXT, genres JSON NOT NULL, popularity FLOAT NOT NULL, vote_average FLOAT,
    source VARCHAR(8) NOT NULL, looked_up_at DATETIME, details_fetched_at DATETIME,
    people_fetched_at DATETIME, added_at DATETIME NOT NULL,
    CONSTRAINT pk_movies PRIMARY KEY (id), CONSTRAINT uq_movies_tmdb_id UNIQUE (tmdb_id)
);
CREATE INDEX ix_movies_imdb_id ON movies (imdb_id);
CREATE INDEX ix_movies_match_key ON movies (match_key);
CREATE INDEX ix_movies_looked_up_at ON movies (looked_up_at);
CREATE INDEX ix_movies_people_fetched_at ON movies (people_fetched_at);
CREATE UNIQUE INDEX uq_movies_match_key_offline ON movies (match_key) WHERE tmdb_id IS NULL;
CREATE TABLE people (
    id INTEGER NOT NULL, name TEXT NOT NULL, biography TEXT, birthday DATE, deathday DATE,
    place_of_birth TEXT, imdb_id TEXT, profile_path TEXT, known_for TEXT,
    details_fetched_at DATETIME,
    CONSTRAINT pk_people PRIMARY KEY (id)
);
CREATE TABLE shows (
    first_air_date DATE, tvdb_id INTEGER, season_numbers JSON NOT NULL, id INTEGER NOT NULL,
    tmdb_id INTEGER, imdb_id TEXT, match_key TEXT NOT NULL, title TEXT NOT NULL,
    original_title TEXT, year INTEGER, overview TEXT, poster_path TEXT, genres JSON NOT NULL,
    popularity FLOAT NOT NULL, vote_average FLOAT, source VARCHAR(8) NOT NULL,
    looked_up_at DATETIME, details_fetched_at DATETIME, people_fetched_at DATETIME,
    added_at DATETIME NOT NULL,
    CONSTRAINT pk_shows PRIMARY KEY (id), CONSTRAINT uq_shows_tmdb_id UNIQUE (tmdb_id)
);
CREATE INDEX ix_shows_match_key ON shows (match_key);
CREATE INDEX ix_shows_looked_up_at ON shows (looked_up_at);
CREATE INDEX ix_shows_imdb_id ON shows (imdb_id);
CREATE INDEX ix_shows_people_fetched_at ON shows (people_fetched_at);
CREATE INDEX ix_shows_tvdb_id ON shows (tvdb_id);
CREATE UNIQUE INDEX uq_shows_match_key_offline ON shows (match_key) WHERE tmdb_id IS NULL;
CREATE TABLE folders (
    id INTEGER NOT NULL, library_id INTEGER NOT NULL, path TEXT NOT NULL,
    signature VARCHAR(32) NOT NULL, nfo_signature VARCHAR(32) NOT NULL,
    mounted BOOLEAN DEFAULT 0 NOT NULL,
    CONSTRAINT pk_folders PRIMARY KEY (id), CONSTRAINT uq_folders_path UNIQUE (library_id, path),
    CONSTRAINT fk_folders_library_id FOREIGN KEY(library_id) REFERENCES libraries (id) ON DELETE CASCADE
);
CREATE TABLE seasons (
    id INTEGER NOT NULL, show_id INTEGER NOT NULL, number INTEGER NOT NULL, title TEXT,
    air_date DATE, overview TEXT, poster_path TEXT, details_fetched_at DATETIME,
    CONSTRAINT pk_seasons PRIMARY KEY (id), CONSTRAINT ck_seasons_number CHECK (number >= 0),
    CONSTRAINT uq_seasons_number UNIQUE (show_id, number),
    CONSTRAINT fk_seasons_show_id FOREIGN KEY(show_id) REFERENCES shows (id) ON DELETE CASCADE
);
CREATE TABLE title_aliases (
    id INTEGER NOT NULL, "key" TEXT NOT NULL, movie_id INTEGER, show_id INTEGER,
    CONSTRAINT pk_title_aliases PRIMARY KEY (id),
    CONSTRAINT ck_title_aliases_one_title CHECK ((movie_id IS NULL AND show_id IS NOT NULL) OR (movie_id IS NOT NULL AND show_id IS NULL)),
    CONSTRAINT fk_title_aliases_movie_id FOREIGN KEY(movie_id) REFERENCES movies (id) ON DELETE CASCADE,
    CONSTRAINT fk_title_aliases_show_id FOREIGN KEY(show_id) REFERENCES shows (id) ON DELETE CASCADE
);
CREATE INDEX ix_title_aliases_movie_id ON title_aliases (movie_id);
CREATE INDEX ix_title_aliases_show_id ON title_aliases (show_id);
CREATE UNIQUE INDEX uq_title_aliases_movie_key ON title_aliases ("key") WHERE movie_id IS NOT NULL;
CREATE UNIQUE INDEX uq_title_aliases_show_key ON title_aliases ("key") WHERE show_id IS NOT NULL;
CREATE TABLE episodes (
    id INTEGER NOT NULL, season_id INTEGER NOT NULL, number INTEGER NOT NULL, title TEXT,
    air_date DATE, overview TEXT, runtime INTEGER,
    CONSTRAINT pk_episodes PRIMARY KEY (id), CONSTRAINT ck_episodes_number CHECK (number >= 0),
    CONSTRAINT uq_episodes_number UNIQUE (season_id, number),
    CONSTRAINT fk_episodes_season_id FOREIGN KEY(season_id) REFERENCES seasons (id) ON DELETE CASCADE
);
CREATE TABLE media_files (
    id INTEGER NOT NULL, library_id INTEGER NOT NULL, folder_id INTEGER, path TEXT NOT NULL,
    size BIGINT NOT NULL, mtime_ns BIGINT NOT NULL, inode VARCHAR(24), state VARCHAR(9) NOT NULL,
    unmatched_reason TEXT, movie_id INTEGER, show_id INTEGER, extra_kind TEXT, version TEXT,
    identity JSON, sidecars JSON NOT NULL, streams JSON, container TEXT, duration FLOAT,
    probed_at DATETIME, probe_error TEXT, added_at DATETIME NOT NULL,
    CONSTRAINT pk_media_files PRIMARY KEY (id),
    CONSTRAINT ck_media_files_state CHECK (state IN ('matched', 'unmatched', 'pending', 'extra')),
    CONSTRAINT ck_media_files_one_title CHECK (movie_id IS NULL OR show_id IS NULL),
    CONSTRAINT uq_media_files_path UNIQUE (library_id, path),
    CONSTRAINT fk_media_files_library_id FOREIGN KEY(library_id) REFERENCES libraries (id) ON DELETE CASCADE,
    CONSTRAINT fk_media_files_folder_id FOREIGN KEY(folder_id) REFERENCES folders (id) ON DELETE SET NULL,
    CONSTRAINT fk_media_files_movie_id FOREIGN KEY(movie_id) REFERENCES movies (id) ON DELETE SET NULL,
    CONSTRAINT fk_media_files_show_id FOREIGN KEY(show_id) REFERENCES shows (id) ON DELETE SET NULL
);
CREATE INDEX ix_media_files_movie_id ON media_files (movie_id);
CREATE INDEX ix_media_files_show_id ON media_files (show_id);
CREATE INDEX ix_media_files_folder_id ON media_files (folder_id);
CREATE INDEX ix_media_files_state ON media_files (library_id, state);
CREATE INDEX ix_media_files_unprobed ON media_files (library_id) WHERE probed_at IS NULL;
CREATE TABLE credits (
    id INTEGER NOT NULL, person_id INTEGER NOT NULL, movie_id INTEGER, show_id INTEGER,
    episode_id INTEGER, kind VARCHAR(4) NOT NULL, character TEXT, "order" INTEGER, job TEXT,
    department TEXT, weight INTEGER NOT NULL,
    CONSTRAINT pk_credits PRIMARY KEY (id),
    CONSTRAINT ck_credits_kind CHECK (kind IN ('cast', 'crew')),
    CONSTRAINT ck_credits_one_title CHECK ((CASE WHEN movie_id IS NULL THEN 0 ELSE 1 END) + (CASE WHEN show_id IS NULL THEN 0 ELSE 1 END) + (CASE WHEN episode_id IS NULL THEN 0 ELSE 1 END) = 1),
    CONSTRAINT fk_credits_person_id FOREIGN KEY(person_id) REFERENCES people (id),
    CONSTRAINT fk_credits_movie_id FOREIGN KEY(movie_id) REFERENCES movies (id) ON DELETE CASCADE,
    CONSTRAINT fk_credits_show_id FOREIGN KEY(show_id) REFERENCES shows (id) ON DELETE CASCADE,
    CONSTRAINT fk_credits_episode_id FOREIGN KEY(episode_id) REFERENCES episodes (id) ON DELETE CASCADE
);
CREATE INDEX ix_credits_show_id ON credits (show_id);
CREATE INDEX ix_credits_episode_id ON credits (episode_id);
CREATE INDEX ix_credits_person_id ON credits (person_id);
CREATE INDEX ix_credits_movie_id ON credits (movie_id);
CREATE TABLE media_file_episodes (
    media_file_id INTEGER NOT NULL, episode_id INTEGER NOT NULL,
    CONSTRAINT pk_media_file_episodes PRIMARY KEY (media_file_id, episode_id),
    CONSTRAINT fk_media_file_episodes_media_file_id FOREIGN KEY(media_file_id) REFERENCES media_files (id) ON DELETE CASCADE,
    CONSTRAINT fk_media_file_episodes_episode_id FOREIGN KEY(episode_id) REFERENCES episodes (id) ON DELETE CASCADE
);
CREATE INDEX ix_media_file_episodes_episode_id ON media_file_episodes (episode_id);
