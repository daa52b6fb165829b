<?php
// PHP's own sessions, kept in Redis by phpredis. The built-in server runs this for
// every request; session.save_handler and session.save_path are given on its command line.
session_start();
switch (parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH)) {
    case '/login':
        session_regenerate_id(true);
        $_SESSION['user_id'] = 'alice';
        $_SESSION['cart'] = ['book' => 1, 'pen' => 2.5];
        echo 'logged in';
        break;
    case '/visit':
        $_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
        echo 'hello';
        break;
    case '/logout':
        $_SESSION = [];
        session_destroy();
        echo 'logged out';
        break;
    case '/private':
        echo $_SERVER['HTTP_X_USER_ID'] ?? 'null';
        break;
    default:
        http_response_code(404);
}
