<?php
// The tokens that a program in PHP finds, one a line.
$places = [$_COOKIE['session_id'] ?? '', $_GET['access_token'] ?? '', $_SERVER['HTTP_X_TOKEN'] ?? '', $_SERVER['HTTP_X_USER'] ?? ''];
foreach ($places as $place) {
    echo json_encode($place), "\n";
}
